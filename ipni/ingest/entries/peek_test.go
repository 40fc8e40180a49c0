package entries

import (
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// The guess at the next chunk is right for a good chunk, and defined by its own text otherwise.
func FuzzPeekNext(f *testing.F) {
	next := cid.MustParse("baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq")
	for _, to := range []cid.Cid{cid.Undef, next} {
		c, block, err := ad.EncodeChunk(ipni.Multihashes("\x00\x01a\x00\x01b"), to)
		if err != nil {
			f.Fatal(err)
		}
		if got := peekNext(block); got != to {
			f.Errorf("%s: the next is %s, want %s", c, got, to)
		}
		f.Add(block)
	}
	f.Add([]byte(`"Next":{"/":"`))
	f.Add([]byte(`"}}`))
	f.Add([]byte(`"Next":{"/":"}}`)) // one quote, for both
	f.Fuzz(func(t *testing.T, block []byte) {
		got := peekNext(block)
		if e, err := ad.DecodeEntries(hashOf(t, block), block); err == nil && len(e.Links) == 1 && got.Defined() && got != e.Links[0] {
			t.Errorf("the next is %s, want %s", got, e.Links[0])
		}
	})
}

func hashOf(t *testing.T, block []byte) cid.Cid {
	c, err := cid.Prefix{Version: 1, Codec: cid.DagJSON, MhType: 0x12, MhLength: -1}.Sum(block)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
