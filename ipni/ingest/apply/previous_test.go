package apply

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime/codec/dagcbor"
	"github.com/ipld/go-ipld-prime/codec/dagjson"
	"github.com/ipld/go-ipld-prime/node/basicnode"
)

const (
	before  = "baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq"
	someAd  = `{"PreviousID":{"/":"` + before + `"},"Signature":{"/":{"bytes":"AA"}},"What":1}`
	firstAd = `{"Signature":{"/":{"bytes":"AA"}}}`
)

// toCBOR encodes dag-json as dag-cbor.
func toCBOR(text string) []byte {
	b := basicnode.Prototype.Any.NewBuilder()
	if err := dagjson.Decode(b, strings.NewReader(text)); err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if err := dagcbor.Encode(b.Build(), &out); err != nil {
		panic(err)
	}
	return out.Bytes()
}

func TestPrevious(t *testing.T) {
	jsonCID, cborCID := cid.MustParse(before), cid.NewCidV1(cid.DagCBOR, cid.MustParse(before).Hash())
	for text, want := range map[string]string{
		someAd: before, firstAd: "b", `{"what":"is this"}`: "", `[1]`: "", `"text"`: "",
		`{"PreviousID":5,"Signature":1}`: "", `{"PreviousID":{"/":"zzz!"},"Signature":1}`: "",
		`{"PreviousID":{"/":"z` + strings.Repeat("2", 500) + `"},"Signature":1}`: "",
	} {
		inputs := map[cid.Cid][]byte{jsonCID: []byte(text)}
		if !strings.Contains(text, "z") { // links that cannot be encoded
			inputs[cborCID] = toCBOR(text)
		}
		for c, block := range inputs {
			got, err := Previous(c, block)
			if want == "" && err == nil || want != "" && (err != nil || got.String() != want) {
				t.Errorf("%s: %s, %v, want %q", text, got, err, want)
			}
		}
	}
	if _, err := Previous(jsonCID, make([]byte, 2<<20)); err == nil {
		t.Error("a block that is too large: no error")
	}
}

func FuzzPrevious(f *testing.F) {
	f.Add([]byte(someAd), false)
	f.Add([]byte(firstAd), false)
	f.Add(toCBOR(someAd), true)
	f.Fuzz(func(t *testing.T, block []byte, cbor bool) {
		c := cid.MustParse(before)
		if cbor {
			c = cid.NewCidV1(cid.DagCBOR, c.Hash())
		}
		if got, err := Previous(c, block); err == nil && got.Defined() && len(got.Bytes()) > maxLink {
			t.Errorf("link of %d bytes", len(got.Bytes()))
		}
	})
}
