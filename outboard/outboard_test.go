package outboard_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/kv/pebblekv"
	"github.com/hashstream/hashstream/outboard"
)

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
	return b
}

func keys(t testing.TB, s kv.Reader) (n int) {
	t.Helper()
	for _, err := range s.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func write(t testing.TB, s kv.Store, data []byte) digest.Digest {
	t.Helper()
	root, size, err := outboard.Write(t.Context(), s, bytes.NewReader(data), bao.NewHasher(nil))
	if err != nil || size != int64(len(data)) {
		t.Fatalf("Write: %d bytes, %v", size, err)
	}
	if want, err := digest.Sum(digest.BLAKE3, data); err != nil || root != want {
		t.Fatalf("%d bytes: root is %s, want %s", len(data), root, want)
	}
	return root
}

// slice encodes a range from the stored tree and reads it back.
func slice(ctx context.Context, s *outboard.Store, root digest.Digest, data io.ReaderAt, off, n int64) ([]byte, error) {
	tree, err := s.Open(ctx, root)
	if err != nil {
		return nil, err
	}
	sl, err := bao.NewSlice(tree.Size(), off, n)
	if err != nil {
		return nil, err
	}
	from, length := sl.Extent()
	var wire bytes.Buffer
	if _, err := sl.Encode(ctx, &wire, root, tree, io.NewSectionReader(data, from, length)); err != nil {
		return nil, err
	}
	r, err := bao.NewReader(&wire, root, off, n)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestSlices(t *testing.T) {
	disk, err := pebblekv.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, store := range map[string]kv.Store{"memkv": memkv.New(), "pebblekv": disk} {
		s := outboard.New(store, &outboard.Options{CachedSegments: 2})
		for _, groups := range []int{2, 3, 63, 64, 65, 66, 127, 128, 129, 200, 64*64 + 70} {
			data := random(uint64(groups), groups*bao.GroupSize-rnd.IntN(bao.GroupSize))
			root := write(t, store, data)
			for range 20 {
				off := rnd.Int64N(int64(len(data)))
				n := rnd.Int64N(min(int64(len(data))-off, 3<<20) + 1)
				if got, err := slice(t.Context(), s, root, bytes.NewReader(data), off, n); err != nil || !bytes.Equal(got, data[off:off+n]) {
					t.Fatalf("%s: %d from %d of %d bytes: %d bytes, %v", name, n, off, len(data), len(got), err)
				}
			}
			if err := outboard.Verify(t.Context(), store, root, bytes.NewReader(data), bao.NewHasher(nil)); err != nil {
				t.Errorf("%s: Verify of %d bytes: %v", name, len(data), err)
			}
		}
	}
}

// TestSmall stores no tree where there is none.
func TestSmall(t *testing.T) {
	store := memkv.New()
	for _, size := range []int{0, 1, bao.GroupSize} {
		root := write(t, store, random(1, size))
		if _, err := outboard.New(store, nil).Open(t.Context(), root); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%d bytes: Open: %v", size, err)
		}
	}
	if n := keys(t, store); n != 0 {
		t.Errorf("%d keys", n)
	}
	root := write(t, store, random(1, bao.GroupSize+1))
	if tree, err := outboard.New(store, nil).Open(t.Context(), root); err != nil || tree.Size() != bao.GroupSize+1 || tree.Root() != root || keys(t, store) != 2 {
		t.Errorf("Open: %v, %d keys", err, keys(t, store))
	}
}

func TestDelete(t *testing.T) {
	store := memkv.New()
	a := write(t, store, random(1, 20<<20))
	n := keys(t, store)
	if again := write(t, store, random(1, 20<<20)); again != a || keys(t, store) != n {
		t.Errorf("stored again, there are %d keys, not %d", keys(t, store), n)
	}
	b := write(t, store, random(2, 5<<20))
	var all []outboard.Entry
	for e, err := range outboard.New(store, nil).All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	if len(all) != 2 || all[0].Size+all[1].Size != 25<<20 {
		t.Errorf("All: %v", all)
	}
	open, err := outboard.New(store, nil).Open(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // absent is no error
		if err := outboard.Delete(t.Context(), store, b); err != nil {
			t.Fatal(err)
		}
	}
	if keys(t, store) != n {
		t.Errorf("%d keys are left, want %d", keys(t, store), n)
	}
	if _, err := open.Node(t.Context(), 1); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, digest.ErrMismatch) {
		t.Errorf("node of a tree that was deleted: %v", err)
	}
	if _, err := open.Node(t.Context(), 0); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("node 0: %v", err)
	}
	if err := outboard.Verify(t.Context(), store, b, nil, bao.NewHasher(nil)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Verify of what was deleted: %v", err)
	}
	if err := outboard.Clear(t.Context(), store); err != nil || keys(t, store) != 0 {
		t.Errorf("Clear: %v, %d keys", err, keys(t, store))
	}
}

// faulty fails the batches from the one numbered on, before or after they are done.
type faulty struct {
	kv.Store
	left int
	done bool
}

var errFault = errors.New("store is away")

func (f *faulty) Batch(ctx context.Context, ops []kv.Op) error {
	if f.left--; f.left >= 0 {
		return f.Store.Batch(ctx, ops)
	}
	if f.left == -1 && f.done {
		if err := f.Store.Batch(ctx, ops); err != nil {
			return err
		}
	}
	return errFault
}

// TestCrash ends the writing at each batch: the tree is whole or invisible, and
// Sweep leaves nothing of one that is invisible.
func TestCrash(t *testing.T) {
	data := random(3, 600<<20>>1) // several batches
	root, err := bao.NewHasher(nil).SumAt(t.Context(), bytes.NewReader(data), int64(len(data)), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, done := range []bool{false, true} {
		for at, finished := 0, false; !finished; at++ {
			store := memkv.New()
			_, err := outboard.WriteAt(t.Context(), &faulty{store, at, done}, bytes.NewReader(data), int64(len(data)), bao.NewHasher(nil))
			if finished = err == nil; !finished && !errors.Is(err, errFault) {
				t.Fatalf("fault %d: %v", at, err)
			}
			visible := outboard.Verify(t.Context(), store, root, bytes.NewReader(data), bao.NewHasher(nil))
			if visible != nil && !errors.Is(visible, fs.ErrNotExist) {
				t.Fatalf("fault %d: %v", at, visible)
			}
			if finished && (at < 2 || visible != nil) {
				t.Fatalf("finished after %d batches: %v", at, visible)
			}
			before := keys(t, store)
			if n, err := outboard.Sweep(t.Context(), store, time.Now().Add(-time.Hour)); n != 0 || err != nil || keys(t, store) != before {
				t.Fatalf("fault %d: a sweep of what is old removed %d, %v", at, n, err)
			}
			if _, err := outboard.Sweep(t.Context(), store, time.Now().Add(time.Hour)); err != nil {
				t.Fatal(err)
			}
			if n := keys(t, store); visible != nil && n != 0 || visible == nil && n != before {
				t.Fatalf("fault %d: %d keys after the sweep, %d before, visible: %v", at, n, before, visible)
			}
		}
	}
}

func TestSweptWhileWriting(t *testing.T) {
	store := memkv.New()
	w := outboard.NewWriter(store)
	data := random(4, 300<<20)
	root, err := bao.NewHasher(nil).SumAt(t.Context(), bytes.NewReader(data), int64(len(data)), w.Put)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := outboard.Sweep(t.Context(), store, time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatalf("Sweep: %d, %v", n, err)
	}
	if err := w.Finish(t.Context(), root, int64(len(data))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Finish of what was swept: %v", err)
	}
	if err := w.Discard(t.Context()); err != nil || keys(t, store) != 0 {
		t.Errorf("Discard: %v, %d keys", err, keys(t, store))
	}
}

func TestWriterRefuses(t *testing.T) {
	w := outboard.NewWriter(memkv.New())
	for _, split := range []int64{0, -1, 1 << 62} {
		if err := w.Put(t.Context(), split, &bao.Pair{}); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("node %d: %v", split, err)
		}
	}
	root, _ := digest.Sum(digest.BLAKE3, nil)
	if err := w.Put(t.Context(), 1, &bao.Pair{}); err != nil {
		t.Error(err)
	}
	if err := w.Finish(t.Context(), root, 3*bao.GroupSize); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a node is missing: %v", err)
	}
	if err := w.Put(t.Context(), 65, &bao.Pair{}); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("nodes are left out: %v", err)
	}
	if _, err := outboard.WriteAt(t.Context(), memkv.New(), bytes.NewReader(nil), 1, bao.NewHasher(nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("blob that is shorter: %v", err)
	}
}

// TestDamage changes or removes each stored value.
func TestDamage(t *testing.T) {
	data := random(5, 80*bao.GroupSize)
	clean := memkv.New()
	root := write(t, clean, data)
	for p, err := range clean.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if err != nil {
			t.Fatal(err)
		}
		for name, op := range map[string]kv.Op{
			"flipped": kv.Put(p.Key, flip(p.Value, len(p.Value)-1)),
			"version": kv.Put(p.Key, flip(p.Value, 0)),
			"cut":     kv.Put(p.Key, p.Value[:len(p.Value)-1]),
			"longer":  kv.Put(p.Key, append(bytes.Clone(p.Value), 1)),
			"empty":   kv.Put(p.Key, nil),
			"deleted": kv.Delete(p.Key),
		} {
			store := copyOf(t, clean)
			if err := store.Batch(t.Context(), []kv.Op{op}); err != nil {
				t.Fatal(err)
			}
			want := digest.ErrMismatch
			if name == "deleted" && p.Key[1] == 'h' {
				want = fs.ErrNotExist
			}
			if err := outboard.Verify(t.Context(), store, root, bytes.NewReader(data), bao.NewHasher(nil)); !errors.Is(err, want) {
				t.Errorf("%s %x: Verify: %v", name, p.Key, err)
			}
			if _, err := slice(t.Context(), outboard.New(store, nil), root, bytes.NewReader(data), 0, int64(len(data))); !errors.Is(err, want) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%s %x: slice: %v", name, p.Key, err)
			}
		}
	}
	if err := outboard.Verify(t.Context(), clean, root, bytes.NewReader(flip(data, 9)), bao.NewHasher(nil)); !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), "the blob now hashes to") {
		t.Errorf("flipped data: %v", err)
	}
}

func flip(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func copyOf(t *testing.T, from kv.Reader) *memkv.Store {
	to := memkv.New()
	for p, err := range from.Scan(t.Context(), kv.Range{From: []byte{0}}) {
		if err == nil {
			err = to.Batch(t.Context(), []kv.Op{kv.Put(p.Key, p.Value)})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}
