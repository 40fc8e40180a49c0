package window_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/cluster/clustertest"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/internal/window"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// TestThereAndBack gathers windows that end anywhere, and sorts them again.
func TestThereAndBack(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		model := clustertest.NewStore()
		for range 500 {
			g := ipni.SealedGroup{Context: dhash.MetadataKey{byte(rnd.IntN(5))}, Epoch: uint64(rnd.IntN(3))}
			records := valuestore.Records(nil).Append(dhash.Key{byte(rnd.IntN(20))}, fmt.Append(nil, rnd.IntN(30)))
			if err := model.PutSealed(t.Context(), g, records); err != nil {
				t.Fatal(err)
			}
		}
		var (
			want, got []string
			gatherer  window.Gatherer
		)
		line := func(x cluster.Record) string { return fmt.Sprintf("%x %s %x", x.Key, x.Value, x.Group) }
		sorter := window.NewSorter(valuestore.Everything())
		flush := func() {
			groups, _ := gatherer.Size()
			if err := gatherer.Flush(func(g ipni.SealedGroup, r valuestore.Records) error {
				groups--
				return sorter.Add(g, bytes.Clone(r))
			}); err != nil || groups != 0 {
				t.Fatal(groups, err)
			}
			all, err := sorter.Sort()
			if err != nil || !sorter.Empty() {
				t.Fatal(err)
			}
			for _, x := range all {
				got = append(got, line(x))
			}
		}
		for x, err := range model.ExportSealed(t.Context(), valuestore.Everything()) {
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, line(x))
			if gatherer.Add(x); rnd.IntN(40) == 0 {
				flush()
			}
		}
		flush()
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d: %d records became %d, or others", seed, len(want), len(got))
		}
	}
}

// TestFlushFails stops at the first failure, and is empty after it.
func TestFlushFails(t *testing.T) {
	var g window.Gatherer
	for i := range 3 {
		g.Add(cluster.Record{Group: ipni.SealedGroup{Epoch: uint64(i)}, Value: []byte("x")})
	}
	cause, calls := errors.New("gone"), 0
	err := g.Flush(func(ipni.SealedGroup, valuestore.Records) error { calls++; return cause })
	if groups, size := g.Size(); !errors.Is(err, cause) || calls != 1 || groups+size != 0 {
		t.Errorf("%v after %d calls, %d groups", err, calls, groups)
	}
}

func TestMalformed(t *testing.T) {
	s := window.NewSorter(valuestore.Everything())
	if err := s.Add(ipni.SealedGroup{}, valuestore.Records("no record")); !errors.Is(err, digest.ErrMismatch) {
		t.Error(err)
	}
	o := window.NewMetadataOrder(valuestore.Range{To: dhash.Key{9}})
	for _, c := range []struct {
		key  byte
		size int
		ok   bool
	}{{0, 1, true}, {0, 1, false}, {3, 0, false}, {3, dhash.MaxMetadata + dhash.Overhead, true}, {4, dhash.MaxMetadata + dhash.Overhead + 1, false}, {2, 1, false}, {10, 1, false}} {
		err := o.Check(cluster.Metadata{Key: dhash.MetadataKey{c.key}, Sealed: make([]byte, c.size)})
		if (err == nil) != c.ok || err != nil && !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("metadata %d of %d bytes: %v", c.key, c.size, err)
		}
	}
}
