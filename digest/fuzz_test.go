package digest_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
)

// FuzzFromBytes checks that what is accepted is given back byte for byte, that
// go-multihash accepts it too, and that we refuse only what it refuses or what
// our limits name.
func FuzzFromBytes(f *testing.F) {
	f.Add([]byte("\x00\x03abc"))
	f.Add([]byte("\x12\x20" + "0123456789abcdef0123456789abcdef"))
	f.Add([]byte("\xa0\xe4\x02\x02ab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		decoded, oracleErr := multihash.Decode(b)
		d, err := digest.FromBytes(b)
		if err != nil {
			if !errors.Is(err, digest.ErrInvalid) {
				t.Fatalf("error without kind: %v", err)
			}
			limited := decoded != nil && (decoded.Length > 128 || decoded.Code == 0x12 || decoded.Code == 0x13 || decoded.Code == 0x1e)
			if oracleErr == nil && !limited {
				t.Fatalf("%x: %v, but go-multihash accepts it", b, err)
			}
			return
		}
		if oracleErr != nil {
			t.Fatalf("%x is accepted, but go-multihash says %v", b, oracleErr)
		}
		if !bytes.Equal(d.Bytes(), b) || uint64(d.Code()) != decoded.Code || !bytes.Equal(d.Value(), decoded.Digest) {
			t.Fatalf("%x is read as %s %x", b, d.Code(), d.Value())
		}
		if again, err := digest.FromCID(d.CID(cid.DagCBOR)); err != nil || again != d {
			t.Fatalf("%s comes back as %s, %v", d, again, err)
		}
		if err := d.Verify(d.Value()); err != nil && !errors.Is(err, digest.ErrMismatch) && !errors.Is(err, digest.ErrUnsupported) {
			t.Fatalf("error without kind: %v", err)
		}
	})
}

// FuzzParse checks that the text of what was parsed parses to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn", "bafkqaaa", "f015500",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := digest.Parse(s)
		if err != nil {
			if !errors.Is(err, digest.ErrInvalid) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		if again, err := digest.Parse(d.String()); err != nil || again != d {
			t.Fatalf("%q is %s and comes back as %s, %v", s, d, again, err)
		}
	})
}
