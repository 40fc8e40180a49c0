package pack_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	gocar "github.com/ipld/go-car/v2"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

func newStore(t testing.TB) *fsblob.Store {
	t.Helper()
	s, err := fsblob.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newBlock(t testing.TB, codec uint64, data []byte) block.Block {
	t.Helper()
	d, err := digest.Sum(digest.SHA256, data)
	if err != nil {
		t.Fatal(err)
	}
	return block.Block{CID: d.CID(codec), Data: data}
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

type committed struct {
	Digest digest.Digest
	Size   int64
}

// recorder collects what a Writer commits.
type recorder struct {
	t     testing.TB
	packs map[int]committed
}

func newRecorder(t testing.TB) *recorder { return &recorder{t, map[int]committed{}} }

func (r *recorder) add(_ context.Context, n int, d digest.Digest, size int64) error {
	if _, ok := r.packs[n]; ok {
		r.t.Errorf("pack %d was committed twice", n)
	}
	r.packs[n] = committed{d, size}
	return nil
}

// tree writes a random DAG in pre-order, parents as reservations, and returns its
// blocks in the order in which they must stand.
type tree struct {
	t      testing.TB
	w      *pack.Writer
	r      *rand.Rand
	blocks []block.Block
	places []pack.Place
}

func (x *tree) grow(depth int) {
	ctx := x.t.Context()
	if depth == 0 || x.r.IntN(4) == 0 {
		size := x.r.IntN(6000)
		if x.r.IntN(20) == 0 {
			size = 100_000 + x.r.IntN(300_000)
		}
		b := newBlock(x.t, cid.Raw, random(x.r, size))
		p, err := x.w.Append(ctx, b.CID, b.Data)
		if err != nil {
			x.t.Fatal(err)
		}
		x.blocks, x.places = append(x.blocks, b), append(x.places, p)
		return
	}
	size := x.r.IntN(3000)
	if x.r.IntN(10) == 0 {
		size = 150_000
	}
	b := newBlock(x.t, cid.DagProtobuf, random(x.r, size))
	p, err := x.w.Reserve(ctx, b.CID.ByteLen(), int64(len(b.Data)))
	if err != nil {
		x.t.Fatal(err)
	}
	x.blocks, x.places = append(x.blocks, b), append(x.places, p)
	for range x.r.IntN(9) {
		x.grow(depth - 1)
	}
	if err := x.w.Fill(ctx, p, b); err != nil {
		x.t.Fatal(err)
	}
}

func TestWriter(t *testing.T) {
	for seed := range uint64(12) {
		const limit = 200_000
		store, rec := newStore(t), newRecorder(t)
		w := pack.NewWriter(store.Draft, &pack.Options{Size: limit, Committed: rec.add, Concurrency: 1 + int(seed)%3})
		x := &tree{t: t, w: w, r: rand.New(rand.NewPCG(seed, 1))}
		for len(x.blocks) < 300 {
			x.grow(4)
		}
		root := x.blocks[0].CID
		if root.ByteLen() != 36 {
			t.Fatal("bad fixture")
		}
		if err := w.Finish(t.Context(), root); err != nil {
			t.Fatal(err)
		}
		w.Discard()
		checkPacks(t, store, rec, x, limit)
	}
}

// checkPacks reads every pack with go-car.
func checkPacks(t *testing.T, store *fsblob.Store, rec *recorder, x *tree, limit int64) {
	t.Helper()
	i := 0
	for n := range len(rec.packs) {
		p, ok := rec.packs[n]
		if !ok {
			t.Fatalf("pack %d is missing", n)
		}
		raw, err := blob.Read(t.Context(), store, pack.Key(p.Digest), 0, p.Size)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Digest.Verify(raw); err != nil {
			t.Fatal(err)
		}
		first := i
		i = checkBlocks(t, n, raw, x, i)
		if p.Size > limit && i-first > 1 {
			t.Errorf("pack %d has %d bytes, the limit is %d", n, p.Size, limit)
		}
		if i < len(x.blocks) && p.Size+int64(len(x.blocks[i].Data))+39 <= limit {
			t.Errorf("pack %d was split at %d bytes before a block of %d", n, p.Size, len(x.blocks[i].Data))
		}
		for f, err := range pack.Verify(t.Context(), store, p.Digest) {
			t.Errorf("Verify: %v %v", f, err)
		}
	}
	if i != len(x.blocks) {
		t.Errorf("packs hold %d blocks, want %d", i, len(x.blocks))
	}
}

func checkBlocks(t *testing.T, n int, raw []byte, x *tree, i int) int {
	t.Helper()
	r, err := gocar.NewBlockReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	want := "bafkqaaa"
	if n == 0 {
		want = x.blocks[0].CID.String()
	}
	if len(r.Roots) != 1 || r.Roots[0].String() != want {
		t.Errorf("pack %d has roots %v, want %s", n, r.Roots, want)
	}
	for ; ; i++ {
		b, err := r.Next()
		if err == io.EOF {
			return i
		}
		if err != nil {
			t.Fatalf("pack %d: %v", n, err)
		}
		if i >= len(x.blocks) || b.Cid() != x.blocks[i].CID {
			t.Fatalf("pack %d: block %d is %s", n, i, b.Cid())
		}
		p := x.places[i]
		if p.Pack != n || !bytes.Equal(raw[p.Offset:p.Offset+p.Size], x.blocks[i].Data) {
			t.Fatalf("block %d is not at %+v", i, p)
		}
	}
}

func TestUnreserve(t *testing.T) {
	for _, limit := range []int64{1 << 20, 160, 100} {
		store, rec := newStore(t), newRecorder(t)
		ctx := t.Context()
		w := pack.NewWriter(store.Draft, &pack.Options{Size: limit, Committed: rec.add})
		x := &tree{t: t, w: w, r: rand.New(rand.NewPCG(1, 2))}
		parent := newBlock(t, cid.DagProtobuf, random(x.r, 40))
		p0, err := w.Reserve(ctx, 36, 40)
		if err != nil {
			t.Fatal(err)
		}
		// Three reservations, one in the other, that all turn out not to be needed.
		var inner []pack.Place
		for _, size := range []int64{50, 200_000, 60} {
			p, err := w.Reserve(ctx, 36, size)
			if err != nil {
				t.Fatal(err)
			}
			inner = append(inner, p)
		}
		for _, p := range []pack.Place{inner[2], inner[1], inner[0]} {
			if err := w.Unreserve(ctx, p); err != nil {
				t.Fatalf("limit %d: %v", limit, err)
			}
		}
		leaf := newBlock(t, cid.Raw, random(x.r, 10)) // ends before what was flushed for the reservations
		p1, err := w.Append(ctx, leaf.CID, leaf.Data)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Fill(ctx, p0, parent); err != nil {
			t.Fatal(err)
		}
		if err := w.Finish(ctx, parent.CID); err != nil {
			t.Fatal(err)
		}
		x.blocks, x.places = []block.Block{parent, leaf}, []pack.Place{p0, p1}
		for n, p := range rec.packs {
			raw, err := blob.Read(ctx, store, pack.Key(p.Digest), 0, p.Size)
			if err != nil {
				t.Fatal(err)
			}
			start := 0
			if n != p0.Pack {
				start = 1
			}
			checkBlocks(t, n, raw, x, start)
			for f, err := range pack.Verify(ctx, store, p.Digest) {
				t.Errorf("Verify: %v %v", f, err)
			}
		}
	}
}

func TestPackVector(t *testing.T) {
	store, rec := newStore(t), newRecorder(t)
	w := pack.NewWriter(store.Draft, &pack.Options{Committed: rec.add})
	b := newBlock(t, cid.Raw, []byte("hello world"))
	p, err := w.Append(t.Context(), b.CID, b.Data)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Finish(t.Context(), b.CID); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(pack.Place{Pack: 0, Offset: 59 + 1 + 36, Size: 11}, p); diff != "" {
		t.Error(diff)
	}
	if got := rec.packs[0].Size; got != 59+1+36+11 {
		t.Errorf("pack has %d bytes", got)
	}
}
