package adcar_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/mirror/adcar"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// chunks returns two chunks, the second of which points to the first.
func chunks(t testing.TB) (first, second cid.Cid, data []byte) {
	t.Helper()
	mh, err := multihash.Sum([]byte("a"), multihash.SHA2_256, -1)
	must(t, err)
	first, _, err = ad.EncodeChunk(ipni.Multihashes(mh), cid.Undef)
	must(t, err)
	second, data, err = ad.EncodeChunk(ipni.Multihashes(mh), first)
	must(t, err)
	return first, second, data
}

func TestLinks(t *testing.T) {
	first, second, chunk := chunks(t)
	key, id := ipnitest.Key(1)
	a := ad.Ad{Provider: id, ContextID: []byte("a"), Metadata: []byte{0x80, 0x12}}
	one, data, err := ad.New(a, key)
	must(t, err)
	if l, err := adcar.ReadLinks(one, data); err != nil || l.Previous.Defined() || l.Entries.Defined() {
		t.Errorf("an advertisement without links: %v, %v", l, err)
	}
	a.Previous, a.Entries = one, second
	two, data, err := ad.New(a, key)
	must(t, err)
	if l, err := adcar.ReadLinks(two, data); err != nil || l.Previous != one || l.Entries != second {
		t.Errorf("links %v, %v", l, err)
	}
	// A wrong signature hides no links.
	if l, err := adcar.ReadLinks(two, bytes.Replace(data, []byte(`"Signature"`), []byte(`"signature"`), 1)); err != nil || l.Previous != one {
		t.Errorf("links of a bad advertisement: %v, %v", l, err)
	}
	if next := adcar.EntryLinks(second, chunk); len(next) != 1 || next[0] != first {
		t.Errorf("next chunk %v", next)
	}
	for _, c := range []cid.Cid{cid.NewCidV1(cid.DagJSON, two.Hash()), cid.NewCidV1(cid.DagCBOR, two.Hash()), cid.NewCidV1(cid.Raw, two.Hash())} {
		if _, err := adcar.ReadLinks(c, []byte("no map")); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("links of bad bytes: %v", err)
		}
	}
}

func FuzzLinks(f *testing.F) {
	_, second, chunk := chunks(f)
	f.Add(chunk, false)
	f.Add([]byte(`{"hamt":{},"Entries":{"/":"baguqeera664wqwt5bmrnwenrg4rxwta7ggf3wguzknd5xrkw6ab26pre6ooa"}}`), false)
	f.Add([]byte{0xa1, 0x67, 'E', 'n', 't', 'r', 'i', 'e', 's', 0x80}, true)
	f.Fuzz(func(t *testing.T, data []byte, cbor bool) {
		c := second
		if cbor {
			c = cid.NewCidV1(cid.DagCBOR, second.Hash())
		}
		_, err := adcar.ReadLinks(c, data)
		if err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%v does not match digest.ErrMismatch", err)
		}
		adcar.EntryLinks(c, data)
	})
}
