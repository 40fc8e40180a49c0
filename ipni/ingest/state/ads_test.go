package state

import (
	"errors"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// Each publisher has a row of its own of the same advertisement; rows of before count for theirs.
func TestAdOf(t *testing.T) {
	ctx, c := t.Context(), cid.MustParse("baguqeeratze543xe4lbzst2rhr4bkamjcdpubjofmhxvfnr636ky36qjtfhq")
	own, other, third := Tag{1}, Tag{2}, Tag{3}
	indexed, skipped := Ad{Status: Indexed, Tag: own, Order: 5}, Ad{Status: Skipped, Tag: other, Order: 6, Reason: "no"}
	again := Ad{Status: Resyncing, Tag: own, Order: 5}
	late := Ad{Status: Skipped, Tag: third, Order: 7, Reason: "neither"}
	before := func(a Ad) kv.Op { return kv.Put(adPrefix(c), a.Encode()) }
	for _, x := range []struct {
		name             string
		ops              []kv.Op
		own, other, best Ad
	}{
		{"none", nil, Ad{}, Ad{}, Ad{}},
		{"one", []kv.Op{PutAd(c, indexed)}, indexed, Ad{}, indexed},
		{"two", []kv.Op{PutAd(c, indexed), PutAd(c, skipped)}, indexed, skipped, indexed},
		{"first", []kv.Op{PutAd(c, late), PutAd(c, skipped)}, Ad{}, skipped, skipped},
		{"old", []kv.Op{before(indexed)}, indexed, Ad{}, indexed},
		{"old and other", []kv.Op{before(indexed), PutAd(c, skipped)}, indexed, skipped, indexed},
		{"old and new", []kv.Op{before(indexed), PutAd(c, skipped), PutAd(c, again)}, again, skipped, again},
		{"corrupt old", []kv.Op{kv.Put(adPrefix(c), []byte{1}), PutAd(c, indexed), PutAd(c, skipped)}, indexed, skipped, indexed},
	} {
		s := New(memkv.New())
		if err := s.Batch(ctx, x.ops); err != nil {
			t.Fatal(err)
		}
		if a, err := s.AdOf(ctx, own, c); err != nil || a != x.own {
			t.Errorf("%s: own %+v, %v; want %+v", x.name, a, err, x.own)
		}
		if a, err := s.AdOf(ctx, other, c); err != nil || a != x.other {
			t.Errorf("%s: other %+v, %v; want %+v", x.name, a, err, x.other)
		}
		if a, err := s.Ad(ctx, c); err != nil || a != x.best {
			t.Errorf("%s: %+v, %v; want %+v", x.name, a, err, x.best)
		}
	}
	s := New(memkv.New())
	if err := s.Batch(ctx, []kv.Op{kv.Put(adPrefix(c), []byte{1})}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ad(ctx, c); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a corrupt row: %v", err)
	}
	if _, err := s.AdOf(ctx, own, c); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("a corrupt row of before: %v", err)
	}
}
