package index_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

func sum(t *testing.T, text string) digest.Digest {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// tree is a DAG of two levels below the root, written as ingestion does: the
// inner nodes are known only when they are closed, and the packs are named out of
// order, the first one last.
type tree struct {
	root    cid.Cid
	cids    []cid.Cid // by entry
	offsets []int64
	packs   []digest.Digest
}

const leafSize = 1000

func buildTree(t *testing.T, store kv.Store, level index.Level, inner, leaves int) tree {
	t.Helper()
	b := index.NewBuilder(store, level)
	tr := tree{packs: []digest.Digest{sum(t, "pack 0"), sum(t, "pack 1"), sum(t, "pack 2")}}
	end := []int64{59, 59, 59}
	open := func(c cid.Cid, size, fileBytes int64, entity bool) int {
		pack := len(tr.cids) * 3 / (inner*(leaves+1) + 1)
		off := end[pack] + car.HeadSizeLen(36, size)
		end[pack] = off + size
		tr.cids = append(tr.cids, c)
		tr.offsets = append(tr.offsets, off)
		return b.Open(index.Node{CID: c, Pack: pack, Offset: off, Size: size, FileBytes: fileBytes, Entity: entity})
	}
	root := open(cid.Undef, 300, 0, true)
	for i := range inner {
		n := open(cid.Undef, 200, 0, false)
		for j := range leaves {
			c := sum(t, fmt.Sprint("leaf ", i, j)).CID(cid.Raw)
			b.Close(open(c, leafSize, leafSize, false), c, -1)
		}
		tr.cids[n] = sum(t, fmt.Sprint("inner ", i)).CID(cid.DagProtobuf)
		b.Close(n, tr.cids[n], -1)
	}
	tr.root = sum(t, "root").CID(cid.DagProtobuf)
	tr.cids[root] = tr.root
	b.Close(root, tr.root, -1)
	for _, n := range []int{1, 2} {
		if err := b.Packed(t.Context(), n, tr.packs[n]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := planOf(t.Context(), index.New(store, nil), tr.root); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a plan is visible before it is finished: %v", err)
	}
	if err := b.Packed(t.Context(), 0, tr.packs[0]); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return tr
}

func planOf(ctx context.Context, x *index.Index, root cid.Cid) (index.Plan, error) {
	d, err := digest.FromCID(root)
	if err != nil {
		return index.Plan{}, err
	}
	for p, err := range x.Plans(ctx, d) {
		return p, err
	}
	return index.Plan{}, fs.ErrNotExist
}

func TestPlan(t *testing.T) {
	store := memkv.New()
	tr := buildTree(t, store, index.LevelAll, 5, 700)
	x := index.New(store, nil)
	p, err := planOf(t.Context(), x, tr.root)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.End()-p.First(), int64(len(tr.cids)); got != want {
		t.Errorf("plan has %d entries, want %d", got, want)
	}
	var sections int64
	for i := range tr.cids {
		e, _, err := p.Entry(t.Context(), int64(i))
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.CID()
		if err != nil {
			t.Fatal(err)
		}
		if c != tr.cids[i] || e.Offset != tr.offsets[i] {
			t.Fatalf("entry %d is %s at %d, want %s at %d", i, c, e.Offset, tr.cids[i], tr.offsets[i])
		}
		sections += e.Section()
	}
	if n, sure := p.Sections(); n != sections || !sure {
		t.Errorf("Sections() = %d, %v, want %d, true", n, sure, sections)
	}
	if n, sure := p.Repeated(); n != sections || !sure {
		t.Errorf("Repeated() = %d, %v, want %d, true", n, sure, sections)
	}
	if !p.File() || p.FileBytes() != 5*700*leafSize {
		t.Errorf("file %v of %d bytes", p.File(), p.FileBytes())
	}
}

func TestSeek(t *testing.T) {
	store := memkv.New()
	tr := buildTree(t, store, index.LevelAll, 5, 700)
	p, err := planOf(t.Context(), index.New(store, nil), tr.root)
	if err != nil {
		t.Fatal(err)
	}
	for _, pos := range []int64{0, 1, 999, 1000, 699_999, 700_000, 1_023_000, 2_500_123, 5*700*leafSize - 1} {
		leaf := pos / leafSize
		want := leaf + leaf/700 + 2 // the root and the inner nodes come before
		got, err := p.Seek(t.Context(), pos)
		if err != nil || got != want {
			t.Errorf("Seek(%d) = %d, %v, want %d", pos, got, err, want)
		}
	}
	if _, err := p.Seek(t.Context(), 5*700*leafSize); err == nil {
		t.Error("Seek past the end succeeds")
	}
}

func TestLevels(t *testing.T) {
	for _, tc := range []struct {
		level              index.Level
		plan, blob, hinted bool
	}{
		{index.LevelAll, true, true, true},
		{index.LevelSingle, false, true, true},
		{index.LevelMultiple, true, false, true},
		{index.LevelNone, false, false, false},
	} {
		t.Run(string(tc.level), func(t *testing.T) {
			store := memkv.New()
			tr := buildTree(t, store, tc.level, 2, 10)
			x := index.New(store, nil)
			_, err := planOf(t.Context(), x, tr.root)
			if got := err == nil; got != tc.plan {
				t.Errorf("plan found: %v (%v), want %v", got, err, tc.plan)
			}
			root, leaf := sum(t, "root"), sum(t, "leaf 1 3")
			if got := hasBlob(t, x, leaf, digest.Digest{}); got != tc.blob {
				t.Errorf("leaf found: %v, want %v", got, tc.blob)
			}
			if got := hasBlob(t, x, leaf, root); got != tc.hinted {
				t.Errorf("leaf found with a hint: %v, want %v", got, tc.hinted)
			}
		})
	}
}

func hasBlob(t *testing.T, x *index.Index, d, hint digest.Digest) bool {
	t.Helper()
	for r, err := range x.Find(t.Context(), d, hint) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == index.Blob && r.Length == leafSize {
			return true
		}
	}
	return false
}

func TestRemoveLocationHidesItsBlocks(t *testing.T) {
	store := memkv.New()
	tr := buildTree(t, store, index.LevelAll, 2, 10)
	if err := index.RemoveLocation(t.Context(), store, index.Location{Pack: tr.packs[2]}); err != nil {
		t.Fatal(err)
	}
	x := index.New(store, nil)
	if hasBlob(t, x, sum(t, "leaf 1 9"), digest.Digest{}) {
		t.Error("a block of a removed pack is found")
	}
	if !hasBlob(t, x, sum(t, "leaf 0 0"), digest.Digest{}) {
		t.Error("a block of another pack is not found")
	}
	before, _ := x.Stats(t.Context())
	if _, err := index.Sweep(t.Context(), store, time.Now()); err != nil {
		t.Fatal(err)
	}
	after, _ := x.Stats(t.Context())
	if after.Blocks >= before.Blocks {
		t.Errorf("sweep left %d of %d block records", after.Blocks, before.Blocks)
	}
}

func TestQuarantineHidesOneCopy(t *testing.T) {
	store := memkv.New()
	tr := buildTree(t, store, index.LevelAll, 2, 10)
	x := index.New(store, nil)
	d, loc := sum(t, "leaf 0 0"), index.Location{Pack: tr.packs[0]}
	if err := index.Quarantine(t.Context(), store, d, loc, "bit rot"); err != nil {
		t.Fatal(err)
	}
	if hasBlob(t, x, d, digest.Digest{}) {
		t.Error("a block in quarantine is found")
	}
	for bad, err := range x.Quarantines(t.Context()) {
		if err != nil || bad.Digest != d || bad.Location != loc || bad.Cause != "bit rot" {
			t.Errorf("quarantine lists %+v, %v", bad, err)
		}
	}
	if err := index.Release(t.Context(), store, d, loc); err != nil {
		t.Fatal(err)
	}
	if !hasBlob(t, x, d, digest.Digest{}) {
		t.Error("a released block is not found")
	}
}

func TestAbandonedPlanIsSwept(t *testing.T) {
	store := memkv.New()
	b := index.NewBuilder(store, index.LevelAll)
	b.Open(index.Node{Size: 10, Entity: true})
	c := sum(t, "leaf").CID(cid.Raw)
	for range 3 * index.SegmentEntries {
		b.Close(b.Open(index.Node{CID: c, Pack: 1, Offset: 100, Size: 10, FileBytes: 10}), c, -1)
	}
	if err := b.Packed(t.Context(), 1, sum(t, "pack")); err != nil {
		t.Fatal(err)
	}
	x := index.New(store, nil)
	if s, _ := x.Stats(t.Context()); s.Segments == 0 {
		t.Fatal("no segment was stored early")
	}
	if n, err := index.Sweep(t.Context(), store, time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("sweep removed %d keys of a plan that is being written, %v", n, err)
	}
	if _, err := index.Sweep(t.Context(), store, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s, _ := x.Stats(t.Context()); s.Segments != 0 {
		t.Errorf("sweep left %d segments of an abandoned plan", s.Segments)
	}
}

func TestDuplicates(t *testing.T) {
	store := memkv.New()
	b := index.NewBuilder(store, index.LevelAll)
	leaf, dir := sum(t, "leaf").CID(cid.Raw), sum(t, "dir").CID(cid.DagProtobuf)
	file := sum(t, "file").CID(cid.DagProtobuf)
	root := b.Open(index.Node{Offset: 100, Size: 50, Entity: true, Directory: true})
	b.Close(b.Open(index.Node{CID: leaf, Offset: 200, Size: 10, FileBytes: 10, Entity: true}), leaf, -1)
	sub := b.Open(index.Node{Offset: 300, Size: 20, Entity: true})
	b.Close(b.Open(index.Node{CID: leaf, Offset: 200, Size: 10, FileBytes: 10}), leaf, 1)
	b.Close(sub, file, -1)
	b.Close(root, dir, -1)
	if err := b.Packed(t.Context(), 0, sum(t, "pack")); err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	x := index.New(store, nil)
	p, err := planOf(t.Context(), x, dir)
	if err != nil {
		t.Fatal(err)
	}
	once, _ := p.Sections()
	often, _ := p.Repeated()
	if once != 37+50+37+10+37+20 || often != once+37+10 {
		t.Errorf("sections %d, repeated %d", once, often)
	}
	q, err := planOf(t.Context(), x, file)
	if err != nil {
		t.Fatal(err)
	}
	if !q.Borrows() || q.First() != 2 || q.Position() != 10 || p.Borrows() {
		t.Errorf("file: borrows %v, first %d, position %d; root: borrows %v", q.Borrows(), q.First(), q.Position(), p.Borrows())
	}
	var got []string
	for r, err := range q.Records(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprint(r.Digest.CID(cid.Raw), r.Offset))
	}
	want := []string{fmt.Sprint(sum(t, "file").CID(cid.Raw), 300), fmt.Sprint(leaf, 200)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
}

func TestBuilderRefusesMisuse(t *testing.T) {
	store := memkv.New()
	b := index.NewBuilder(store, index.LevelAll)
	b.Open(index.Node{Size: 1})
	if err := b.Finish(t.Context()); err == nil {
		t.Error("Finish succeeds with an open node")
	}
	b = index.NewBuilder(store, index.LevelAll)
	first := b.Open(index.Node{Size: 1})
	b.Open(index.Node{Size: 1})
	b.Close(first, sum(t, "x").CID(cid.Raw), -1)
	if err := b.Finish(t.Context()); err == nil {
		t.Error("Finish succeeds after nodes were closed out of turn")
	}
	if _, err := planOf(t.Context(), index.New(store, nil), sum(t, "x").CID(cid.Raw)); err == nil {
		t.Error("a failed plan is visible")
	}
}

func BenchmarkSegment(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	store := memkv.New()
	bd := index.NewBuilder(store, index.LevelAll)
	bd.Open(index.Node{Size: 10, Entity: true})
	var off int64
	for range 8 * index.SegmentEntries {
		var h [32]byte
		for i := range h {
			h[i] = byte(rng.Uint32())
		}
		d, _ := digest.Sum(digest.SHA256, h[:])
		off += 4096 + 38
		bd.Close(bd.Open(index.Node{CID: d.CID(cid.Raw), Offset: off, Size: 4096, FileBytes: 4096}), d.CID(cid.Raw), -1)
	}
	d, _ := digest.Sum(digest.SHA256, []byte("root"))
	bd.Close(0, d.CID(cid.DagProtobuf), -1)
	bd.Packed(b.Context(), 0, d)
	if err := bd.Finish(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		p, err := planOf(b.Context(), index.New(store, nil), d.CID(cid.DagProtobuf))
		if err != nil {
			b.Fatal(err)
		}
		for i := range int64(8) {
			if _, err := p.Segment(b.Context(), i*index.SegmentEntries); err != nil {
				b.Fatal(err)
			}
		}
	}
}
