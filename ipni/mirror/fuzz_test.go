package mirror_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// Heads and layouts may hold anything: what is good is a CID or a layout, what is not matches
// digest.ErrMismatch.
func FuzzHead(f *testing.F) {
	const id = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
	provider, err := peer.Decode(id)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq\n"))
	f.Add([]byte("baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq"))
	f.Add(bytes.Repeat([]byte{'b'}, 300))
	f.Fuzz(func(t *testing.T, data []byte) {
		store := memblob.New()
		if err := store.Put(t.Context(), id+".head", bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		m, err := mirror.Open(t.Context(), store, nil)
		if err != nil {
			t.Fatal(err)
		}
		c, err := m.Head(t.Context(), provider)
		if (err == nil) != c.Defined() || err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%q is %s, %v", data, c, err)
		}
	})
}

func FuzzLayout(f *testing.F) {
	f.Add([]byte(`{"Version":"v1","PathSplit":[11,2]}`))
	f.Add([]byte(`{"Version":"v1","PathSplit":[9223372036854775807,2]}`))
	f.Add([]byte(`{"Version":"v2"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		store := memblob.New()
		if err := store.Put(t.Context(), ".filestore-config.json", bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		m, err := mirror.Open(t.Context(), store, nil)
		if (err == nil) != (m != nil) || err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%q: %v", data, err)
		}
	})
}
