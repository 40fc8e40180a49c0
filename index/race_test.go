package index_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv/memkv"
)

// watched calls after each Get whose key begins with one of some bytes.
type watched struct {
	*memkv.Store
	kinds string
	after func()
}

func (w *watched) Get(ctx context.Context, key []byte) ([]byte, error) {
	v, err := w.Store.Get(ctx, key)
	if w.after != nil && strings.IndexByte(w.kinds, key[0]) >= 0 {
		f := w.after
		w.after = nil
		f()
	}
	return v, err
}

// written returns a builder of a small file that only has to be finished.
func written(t *testing.T, store *memkv.Store, pack string) (*index.Builder, digest.Digest) {
	t.Helper()
	b := index.NewBuilder(store, index.LevelAll)
	root := b.Open(index.Node{Offset: 100, Size: 50, Entity: true})
	leaf := sum(t, "leaf").CID(cid.Raw)
	b.Close(b.Open(index.Node{CID: leaf, Offset: 200, Size: 10, FileBytes: 10}), leaf, -1)
	b.Close(root, sum(t, "root").CID(cid.DagProtobuf), -1)
	if err := b.Packed(t.Context(), 0, sum(t, pack)); err != nil {
		t.Fatal(err)
	}
	return b, sum(t, "root")
}

// plans lists the plans of d.
func plans(t *testing.T, store *memkv.Store, d digest.Digest) (ps []index.Plan) {
	t.Helper()
	for p, err := range index.New(store, nil).Plans(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
	return ps
}

// TestSweepWhileAPlanIsFinished finishes a plan between the looks that a sweep has
// at it.
func TestSweepWhileAPlanIsFinished(t *testing.T) {
	for _, kinds := range []string{"p", "i", "l"} {
		store := memkv.New()
		b, root := written(t, store, "pack")
		finished := false
		w := &watched{Store: store, kinds: kinds, after: func() {
			finished = true
			if err := b.Finish(t.Context()); err != nil {
				t.Errorf("finish: %v", err)
			}
		}}
		if _, err := index.Sweep(t.Context(), w, time.Now().Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
		if !finished {
			b.Finish(t.Context())
		}
		if n := len(plans(t, store, root)); n != 1 {
			t.Errorf("finished after a Get of kind %s: %d plans are found", kinds, n)
		}
	}
}

// TestSweptPlanIsNotFinished sweeps what a slow writer is still at.
func TestSweptPlanIsNotFinished(t *testing.T) {
	store := memkv.New()
	b, root := written(t, store, "pack")
	if _, err := index.Sweep(t.Context(), store, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s, _ := index.New(store, nil).Stats(t.Context()); s.Segments != 0 || s.Containings != 0 {
		t.Errorf("one sweep leaves %+v", s)
	}
	if err := b.Finish(t.Context()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("finish: %v", err)
	}
	if n := len(plans(t, store, root)); n != 0 {
		t.Errorf("%d plans without segments are found", n)
	}
}

// TestPlansOfOneRoot has three plans of a root, of which one loses its pack.
func TestPlansOfOneRoot(t *testing.T) {
	store := memkv.New()
	var root digest.Digest
	for i := range 3 {
		var b *index.Builder
		b, root = written(t, store, fmt.Sprint("pack ", i))
		if err := b.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := index.RemoveLocation(t.Context(), store, index.Location{Pack: sum(t, "pack 1")}); err != nil {
		t.Fatal(err)
	}
	var found []digest.Digest
	gone := 0
	for _, p := range plans(t, store, root) {
		for loc, err := range p.Locations(t.Context()) {
			switch {
			case errors.Is(err, fs.ErrNotExist):
				gone++
			case err != nil:
				t.Fatal(err)
			default:
				found = append(found, loc.Pack)
			}
		}
	}
	if gone != 1 || len(found) != 2 || slices.Contains(found, sum(t, "pack 1")) {
		t.Errorf("%d plans lost their pack, packs of others: %v", gone, found)
	}
	copies := 0
	for r, err := range index.New(store, nil).Blobs(t.Context(), sum(t, "leaf")) {
		if err != nil || r.Location.Pack == sum(t, "pack 1") {
			t.Errorf("%+v, %v", r, err)
		}
		copies++
	}
	if copies != 2 {
		t.Errorf("%d copies of the leaf, want 2", copies)
	}
}

// TestFlags builds a directory of two files, of which the second repeats a part of
// the first in each way that repeats are written.
func TestFlags(t *testing.T) {
	for name, tc := range map[string]struct {
		folded, loose, sure, complete, borrows bool
	}{
		"plain":  {sure: true, complete: true, borrows: true},
		"folded": {folded: true, sure: true, borrows: true},
		"loose":  {loose: true, complete: true, borrows: true},
	} {
		store := memkv.New()
		b := index.NewBuilder(store, index.LevelAll)
		inner, leaf := sum(t, "inner").CID(cid.DagProtobuf), sum(t, "leaf").CID(cid.Raw)
		part := func(first, firstLeaf int, folded bool) {
			n := b.Open(index.Node{CID: inner, Offset: 300, Size: 20, Folded: folded})
			if !folded {
				b.Close(b.Open(index.Node{CID: leaf, Offset: 400, Size: 10, FileBytes: 10}), leaf, firstLeaf)
			}
			b.Close(n, inner, first)
		}
		root := b.Open(index.Node{Offset: 100, Size: 50, Entity: true, Directory: true})
		one := b.Open(index.Node{Offset: 200, Size: 40, Entity: true})
		part(-1, -1, false)
		b.Close(one, sum(t, "one").CID(cid.DagProtobuf), -1)
		if tc.loose {
			b.Loose()
		}
		two := b.Open(index.Node{Offset: 500, Size: 45, Entity: true})
		part(2, 3, tc.folded)
		b.Close(two, sum(t, "two").CID(cid.DagProtobuf), -1)
		b.Close(root, sum(t, "root").CID(cid.DagProtobuf), -1)
		if err := b.Packed(t.Context(), 0, sum(t, "pack")); err != nil {
			t.Fatal(err)
		}
		if err := b.Finish(t.Context()); err != nil {
			t.Fatal(err)
		}
		for file, want := range map[string][3]bool{"one": {true, true, false}, "two": {tc.sure, tc.complete, tc.borrows}, "root": {tc.sure, tc.complete, false}} {
			p := plans(t, store, sum(t, file))[0]
			_, sure := p.Sections()
			_, complete := p.Repeated()
			if got := [3]bool{sure, complete, p.Borrows()}; got != want {
				t.Errorf("%s, %s: sure, complete, borrows are %v, want %v", name, file, got, want)
			}
		}
	}
}

// TestDepth builds chains as deep as a plan can be, and one link deeper.
func TestDepth(t *testing.T) {
	for links, ok := range map[int]bool{255: true, 256: false, 100_000: false} {
		store := memkv.New()
		b := index.NewBuilder(store, index.LevelAll)
		name := func(i int) cid.Cid { return sum(t, fmt.Sprint("node ", i)).CID(cid.DagCBOR) }
		for i := range links + 1 {
			b.Open(index.Node{CID: name(i), Offset: int64(100 + 100*i), Size: 50})
		}
		for i := links; i >= 0; i-- {
			b.Close(i, name(i), -1)
		}
		err := errors.Join(b.Packed(t.Context(), 0, sum(t, "pack")), b.Finish(t.Context()))
		if ok {
			if n := len(plans(t, store, sum(t, "node 0"))); err != nil || n != 1 {
				t.Errorf("%d links: %d plans, %v", links, n, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "deeper than 255 links") {
			t.Errorf("%d links: %v", links, err)
		}
	}
}
