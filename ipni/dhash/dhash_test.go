package dhash

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	oracle "github.com/ipni/go-libipni/dhash"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// The vectors were made with go-libipni and agree with an implementation of their
// author's own.
const (
	vectorPeer     = "12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt"
	vectorMetadata = "e117872f9f04d54d2966fb8618b76068c3ae5e0d8e2cb7396b59f8fb4684"
	vectorHVK      = "FMUNuBnmPns67qWYmsr3BF1geupaQsz8UJZq2FzWaF1g"
)

var vectors = []struct{ mh, second, sealed string }{
	{
		"1220c00913e02a63e4cf532d9b2ce282fad85af699815c18c595ea804462a794f751",
		"5620818879ebe436ad3f42132f3136f4d9bdfde607083bd76155641be2ed94bd387a",
		"98dca4ebb97f05c06a6fb7bb0b8b48cdaa8cea410717410ee9a919573b0972d216bb1f820c669d9fbaf62f6e697762765fa60a5c08b5fac994e4c36f70a749134b8e5c4dcbc80920df272dde29ec249de268173eaae42c84c99b1cc9440aed8d4a276f0f335b",
	},
	{
		"122023135cc728c43daa5aa248d5a17dde4906843049a995cbd0b80d23694897467e",
		"562069cca7b609c47caf72544a85a5b5ec89e736717f046115230d830b7492b1d02e",
		"6687dcaa23e8d6a97f7f43bd06a45a9767f2d29bb1d1f136eea00172e15e7d63c43cb89492a5f17d6e99bd4b240c5e7eed0b38234fd27b657525115919b53cfcae259bc44a56b43a0eb6f69b3bf2a7dd9c43e7c25bf15c88e9893c99b6ff689b250a87ffb0a3",
	},
}

func vectorValueKey(tb testing.TB) []byte {
	tb.Helper()
	id, err := peer.Decode(vectorPeer)
	if err != nil {
		tb.Fatal(err)
	}
	return ValueKey(id, bytes.Repeat([]byte{9}, 36))
}

func TestVectors(t *testing.T) {
	vk := vectorValueKey(t)
	for _, v := range vectors {
		mh := unhex(t, v.mh)
		if got := hex.EncodeToString(SecondHash(mh).Multihash()); got != v.second {
			t.Errorf("second hash of %s is %s, not %s", v.mh, got, v.second)
		}
		if got := hex.EncodeToString(Seal(nil, vk, mh)); got != v.sealed {
			t.Errorf("value key under %s is %s, not %s", v.mh, got, v.sealed)
		}
		if got, err := Open(nil, unhex(t, v.sealed), mh); err != nil || !bytes.Equal(got, vk) {
			t.Errorf("opened value key: %x, %v", got, err)
		}
	}
	hvk := HashValueKey(vk)
	if got := base58.Encode(hvk[:]); got != vectorHVK {
		t.Errorf("hashed value key is %s, not %s", got, vectorHVK)
	}
	if got := hex.EncodeToString(Seal(nil, []byte{0x80, 0x12}, vk)); got != vectorMetadata {
		t.Errorf("metadata is %s, not %s", got, vectorMetadata)
	}
}

func TestKeys(t *testing.T) {
	k := SecondHash(unhex(t, vectors[0].mh))
	if got, err := ParseKey(k.Multihash()); err != nil || got != k {
		t.Errorf("parsed %x, %v", got, err)
	}
	for _, bad := range []string{"", "56", vectors[0].mh, vectors[0].second + "00", vectors[0].second[:66], "5621" + vectors[0].second[4:]} {
		if _, err := ParseKey(unhex(t, bad)); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("key %s: %v", bad, err)
		}
	}
	id, ctx, err := SplitValueKey(vectorValueKey(t))
	if err != nil || id.String() != vectorPeer || !bytes.Equal(ctx, bytes.Repeat([]byte{9}, 36)) {
		t.Errorf("split into %s and %x, %v", id, ctx, err)
	}
	for _, bad := range [][]byte{nil, {0}, {0x12, 0x20, 1}, append(vectorValueKey(t), make([]byte, 29)...)} {
		if _, _, err := SplitValueKey(bad); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("value key %x: %v", bad, err)
		}
	}
}

func TestOpenRejects(t *testing.T) {
	vk, mh := vectorValueKey(t), unhex(t, vectors[0].mh)
	sealed, o := Seal(nil, vk, mh), NewOpener(mh)
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, err := Open(nil, bad, mh); !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := Open(nil, sealed[:i], mh); !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		if _, err := o.Open(nil, bad); !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
		if _, err := o.Open(nil, sealed[:i]); !errors.Is(err, digest.ErrMismatch) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
	if got, err := o.Open(nil, sealed); err != nil || !bytes.Equal(got, vk) {
		t.Errorf("opened %x, %v", got, err)
	}
}

// FuzzOracle compares with go-libipni: a difference could never be repaired, since
// what is stored cannot be unhashed.
func FuzzOracle(f *testing.F) {
	f.Add(unhex(f, vectors[0].mh), vectorValueKey(f))
	f.Add([]byte{}, []byte{})
	f.Add(bytes.Repeat([]byte{1}, 500), bytes.Repeat([]byte{2}, 2000))
	f.Fuzz(func(t *testing.T, pass, payload []byte) {
		second := SecondHash(pass)
		if want := oracle.SecondMultihash(pass); !bytes.Equal(second.Multihash(), want) {
			t.Fatalf("second hash %x, not %x", second, want)
		}
		sealed := Seal([]byte("dst"), payload, pass)[3:]
		want, err := oracle.EncryptValueKey(payload, multihash.Multihash(pass))
		if err != nil || !bytes.Equal(sealed, want) {
			t.Fatalf("sealed %x, not %x, %v", sealed, want, err)
		}
		o := NewOpener(pass)
		for _, open := range []func(dst, sealed []byte) ([]byte, error){
			func(dst, sealed []byte) ([]byte, error) { return Open(dst, sealed, pass) }, o.Open, o.Open, // again
		} {
			if got, err := open([]byte("dst"), want); err != nil || !bytes.Equal(got[3:], payload) {
				t.Fatalf("opened %x, %v", got, err)
			}
		}
		if _, err := Open(nil, payload, pass); err == nil && len(payload) < Overhead {
			t.Fatal("opened what is too short")
		}
		hvk := HashValueKey(payload)
		if !bytes.Equal(hvk[:], oracle.SHA256(payload, nil)) {
			t.Fatal("hashed value key")
		}
	})
}

// FuzzSplitValueKey checks that what can be split is put together to the same bytes.
func FuzzSplitValueKey(f *testing.F) {
	f.Add(vectorValueKey(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		if id, ctx, err := SplitValueKey(b); err == nil && !bytes.Equal(ValueKey(id, ctx), b) {
			t.Fatalf("%x became %s and %x", b, id, ctx)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	mh, vk := unhex(b, vectors[0].mh), vectorValueKey(b)
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		SecondHash(mh)
		dst = Seal(dst[:0], vk, mh)
	}
}

func BenchmarkOpen(b *testing.B) {
	mh, vk := unhex(b, vectors[0].mh), vectorValueKey(b)
	sealed, o := Seal(nil, vk, mh), NewOpener(mh)
	for name, open := range map[string]func(dst []byte) ([]byte, error){
		"once":  func(dst []byte) ([]byte, error) { return Open(dst, sealed, mh) },
		"again": func(dst []byte) ([]byte, error) { return o.Open(dst, sealed) },
	} {
		b.Run(name, func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for b.Loop() {
				var err error
				if dst, err = open(dst[:0]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSecondHash(b *testing.B) {
	mh := unhex(b, vectors[0].mh)
	for b.Loop() {
		SecondHash(mh)
	}
}

// A server finds by the second hash what only the multihash opens.
func ExampleSeal() {
	mh, _ := base64.StdEncoding.DecodeString("EiDACRPgKmPkz1MtmyzigvrYWvaZgVwYxZXqgERip5T3UQ==")
	provider, _ := peer.Decode(vectorPeer)

	key := SecondHash(mh)
	sealed := Seal(nil, ValueKey(provider, []byte("my files")), mh)

	valueKey, _ := Open(nil, sealed, mh)
	who, context, _ := SplitValueKey(valueKey)
	fmt.Printf("%x…\n%s %s\n", key[:4], who, context)
	// Output:
	// 818879eb…
	// 12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt my files
}
