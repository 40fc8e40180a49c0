package ingest_test

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

// entryRecord is what a recorder heard of one entry.
type entryRecord struct {
	index.Node
	depth int
	first int
}

// recorder is a fake index.
type recorder struct {
	t        testing.TB
	entries  []entryRecord
	open     []int
	packs    map[int]digest.Digest
	loose    bool
	finished bool
	gone     bool
}

func newRecorder(t testing.TB) *recorder { return &recorder{t: t, packs: map[int]digest.Digest{}} }

func (r *recorder) Open(n index.Node) int {
	r.entries = append(r.entries, entryRecord{Node: n, depth: len(r.open), first: -2})
	r.open = append(r.open, len(r.entries)-1)
	return len(r.entries) - 1
}

func (r *recorder) Close(entry int, c cid.Cid, first int) {
	if last := r.open[len(r.open)-1]; last != entry {
		r.t.Errorf("entry %d closed, %d is open", entry, last)
	}
	r.open = r.open[:len(r.open)-1]
	e := &r.entries[entry]
	if e.CID.Defined() && e.CID != c {
		r.t.Errorf("entry %d opened as %s, closed as %s", entry, e.CID, c)
	}
	e.CID, e.first = c, first
}

func (r *recorder) Loose() { r.loose = true }

func (r *recorder) Packed(_ context.Context, n int, d digest.Digest) error {
	if r.finished || r.packs[n] != (digest.Digest{}) {
		r.t.Errorf("pack %d out of turn", n)
	}
	r.packs[n] = d
	return nil
}

func (r *recorder) Finish(context.Context) error {
	if len(r.open) > 0 || r.gone {
		r.t.Error("Finish out of turn")
	}
	r.finished = true
	return nil
}

func (r *recorder) Discard(context.Context) error {
	if !r.finished {
		r.gone = true
	}
	return nil
}

// check holds every entry against the packs.
func (r *recorder) check(store *memblob.Store, res ingest.Result) {
	r.t.Helper()
	if !r.finished {
		r.t.Error("the record is not finished")
	}
	var bytes, dups int64
	for i, e := range r.entries {
		bytes += e.FileBytes
		d, err := digest.FromCID(e.CID)
		if err != nil {
			r.t.Fatal(err)
		}
		if e.first >= 0 {
			dups++
			if f := r.entries[e.first]; f.CID != e.CID || f.first >= 0 || e.first >= i {
				r.t.Errorf("entry %d is said to be a duplicate of %d", i, e.first)
			}
			continue
		}
		data, err := blob.Read(r.t.Context(), store, pack.Key(r.packs[e.Pack]), e.Offset, e.Size)
		if err != nil {
			r.t.Fatal(err)
		}
		if err := d.Verify(data); err != nil {
			r.t.Errorf("entry %d: %v", i, err)
		}
	}
	if bytes != res.Size || dups != res.Duplicates || int64(len(r.entries)) != res.Blocks || len(r.packs) != res.Packs {
		r.t.Errorf("recorded %d bytes, %d duplicates, %d entries, %d packs; the result says %+v", bytes, dups, len(r.entries), len(r.packs), res)
	}
}

// blocks returns the CIDs in the packs as go-car reads them, and checks sizes,
// names and roots.
func (r *recorder) blocks(store *memblob.Store, root cid.Cid, limit int64) []cid.Cid {
	r.t.Helper()
	var order []cid.Cid
	for _, n := range slices.Sorted(maps.Keys(r.packs)) {
		d := r.packs[n]
		obj, err := store.Get(r.t.Context(), pack.Key(d), 0, -1)
		if err != nil {
			r.t.Fatal(err)
		}
		raw, err := io.ReadAll(obj)
		if err != nil {
			r.t.Fatal(err)
		}
		obj.Close()
		if err := d.Verify(raw); err != nil {
			r.t.Fatal(err)
		}
		cr, err := gocar.NewBlockReader(bytes.NewReader(raw))
		if err != nil {
			r.t.Fatal(err)
		}
		if n > 0 {
			root = cid.MustParse("bafkqaaa")
		}
		if !slices.Equal(cr.Roots, []cid.Cid{root}) {
			r.t.Errorf("pack %d has the roots %v", n, cr.Roots)
		}
		had := len(order)
		for b, err := cr.Next(); err != io.EOF; b, err = cr.Next() {
			if err != nil {
				r.t.Fatal(err)
			}
			order = append(order, b.Cid())
		}
		if int64(len(raw)) > limit && len(order) > had+1 {
			r.t.Errorf("pack %d has %d bytes", n, len(raw))
		}
	}
	return order
}

func profile(t testing.TB, name string, change func(*unixfs.Profile)) unixfs.Profile {
	t.Helper()
	p, err := unixfs.ParseProfile(name)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	return p
}
