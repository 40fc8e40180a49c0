package outboard_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/hashstream/hashstream/bao"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/outboard"
)

// counted counts what is read of a store.
type counted struct {
	kv.Reader
	gets, bytes int
}

func (c *counted) Get(ctx context.Context, key []byte) ([]byte, error) {
	b, err := c.Reader.Get(ctx, key)
	c.gets++
	c.bytes += len(b)
	return b, err
}

func (c *counted) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		for p, err := range c.Reader.Scan(ctx, r) {
			c.bytes += len(p.Value)
			if !yield(p, err) {
				return
			}
		}
	}
}

// zeros is a large blob that takes no memory.
type zeros struct{ bytes int64 }

func (z *zeros) ReadAt(b []byte, _ int64) (int, error) {
	clear(b)
	z.bytes += int64(len(b))
	return len(b), nil
}

// TestLargeSlice proves 1 MiB of 10 GiB: not more than 64 KiB beyond the slice are
// read, tree and data together, and not more than 1.1 MiB sent.
func TestLargeSlice(t *testing.T) {
	const size, n = 10 << 30, 1 << 20
	store := memkv.New()
	root, err := outboard.WriteAt(t.Context(), store, still{}, size, bao.NewHasher(nil))
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	offsets := []int64{0, size - n, size/2 - n/2, 4<<30 - 1, 8<<30 - 12345, 8<<30 - n - 1} // across the splits at the top, too
	for range 20 {
		offsets = append(offsets, rnd.Int64N(size-n))
	}
	for _, off := range offsets {
		read, data := &counted{Reader: store}, &zeros{}
		tree, err := outboard.New(read, nil).Open(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		s, err := bao.NewSlice(tree.Size(), off, n)
		if err != nil {
			t.Fatal(err)
		}
		from, length := s.Extent()
		var wire bytes.Buffer
		if _, err := s.Encode(t.Context(), &wire, root, tree, io.NewSectionReader(data, from, length)); err != nil {
			t.Fatal(err)
		}
		beyond := int64(read.bytes) + data.bytes - n
		if beyond > 64<<10 || read.gets > 8 || float64(wire.Len()) > 1.1*n {
			t.Errorf("1 MiB from %d: %d bytes read beyond the slice, %d gets, %d bytes sent", off, beyond, read.gets, wire.Len())
		}
		r, err := bao.NewReader(&wire, root, off, n)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.Copy(io.Discard, r); got != n || err != nil {
			t.Errorf("1 MiB from %d: %d bytes, %v", off, got, err)
		}
	}
}

// still is zeros for many goroutines, and for buffers that nothing else was read into.
type still struct{}

func (still) ReadAt(b []byte, _ int64) (int, error) { return len(b), nil }

func Example() {
	ctx := context.Background()
	store := memkv.New()
	data := bytes.Repeat([]byte("hashstream"), 100_000)

	root, err := outboard.WriteAt(ctx, store, bytes.NewReader(data), int64(len(data)), bao.NewHasher(nil))
	if err != nil {
		fmt.Println(err)
		return
	}
	got, err := slice(ctx, outboard.New(store, nil), root, bytes.NewReader(data), 500_003, 7)
	fmt.Printf("%s %v\n", got, err)
	// Output: hstream <nil>
}
