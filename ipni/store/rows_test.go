package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

func FuzzGroupKey(f *testing.F) {
	f.Add(groupKey(group(1, "a", 1<<40+7).Seal(), 1<<33+5))
	f.Add([]byte("Sg"))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := parseGroupKey(b)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		if got := groupKey(g.SealedGroup, g.tag); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
	})
}

func FuzzOwner(f *testing.F) {
	g := group(1, "a", 1)
	f.Add(ownerValue(g.Seal(), g.ValueKey()), true)
	f.Add(ownerValue(g.Seal(), nil), false)
	f.Fuzz(func(t *testing.T, b []byte, compact bool) {
		o, err := parseOwner(b, compact)
		if err != nil {
			if !errors.Is(err, digest.ErrMismatch) {
				t.Fatal(err)
			}
			return
		}
		if got := ownerValue(o.SealedGroup, o.valueKey); !bytes.Equal(got, b) {
			t.Fatalf("%x became %x", b, got)
		}
	})
}
