package bao

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"

	luke "lukechampine.com/blake3"
)

func TestSumEnds(t *testing.T) {
	full := errors.New("full")
	h := NewHasher(&HasherOptions{Workers: 3})
	for _, at := range []int{0, 1, 63, 64, 1000} {
		n := 0
		_, err := h.SumAt(t.Context(), failAt{1 << 40, nil}, 20<<20, func(context.Context, int64, *Pair) error {
			if n++; n > at {
				return full
			}
			return nil
		})
		if !errors.Is(err, full) {
			t.Errorf("sink that fails after %d: %v", at, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := h.Sum(ctx, cancelling{cancel}, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

// cancelling is an endless reader that cancels.
type cancelling struct{ cancel func() }

func (c cancelling) Read(b []byte) (int, error) { c.cancel(); return len(b), nil }

// TestSumMemory hashes 1 GiB and must hold no more for it than for 8 MiB.
func TestSumMemory(t *testing.T) {
	h := NewHasher(&HasherOptions{Workers: 2})
	nodes := 0
	sink := func(context.Context, int64, *Pair) error { nodes++; return nil }
	if _, err := h.SumAt(t.Context(), failAt{1 << 40, nil}, 8<<20, sink); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := h.SumAt(t.Context(), failAt{1 << 40, nil}, 1<<30, sink); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 || nodes != 511+65535 {
		t.Errorf("hashing 1 GiB allocates %d bytes for %d nodes", got, nodes)
	}
}

// BenchmarkSum measures a blob with its tree beside hashing alone, both on all
// processors. The third is a single one, for what a Reader takes.
func BenchmarkSum(b *testing.B) {
	data := random(7, 256<<20)
	b.Run("tree", func(b *testing.B) {
		h := NewHasher(nil)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := h.SumAt(b.Context(), at(data), int64(len(data)), func(context.Context, int64, *Pair) error { return nil }); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hash", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			luke.Sum256(data)
		}
	})
	b.Run("stream", func(b *testing.B) {
		h := NewHasher(nil)
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, _, err := h.Sum(b.Context(), io.NewSectionReader(at(data), 0, int64(len(data))), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("hash stream", func(b *testing.B) {
		b.SetBytes(int64(len(data)))
		for b.Loop() {
			if _, err := io.CopyBuffer(luke.New(32, nil), struct{ io.Reader }{io.NewSectionReader(at(data), 0, int64(len(data)))}, make([]byte, 1<<20)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// at reads from memory.
type at []byte

func (a at) ReadAt(b []byte, off int64) (int, error) {
	if n := copy(b, a[off:]); n < len(b) {
		return n, io.EOF
	}
	return len(b), nil
}

func BenchmarkSmall(b *testing.B) {
	h := NewHasher(nil)
	data := random(8, 4096)
	b.SetBytes(4096)
	for b.Loop() {
		if _, err := h.SumAt(b.Context(), at(data), 4096, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReader(b *testing.B) {
	tr := plant(b, random(8, 16<<20), groupLog, 2)
	enc := tr.encode(b, 0, 16<<20)
	b.SetBytes(16 << 20)
	for b.Loop() {
		r, err := NewReader(io.NewSectionReader(at(enc), 0, int64(len(enc))), tr.root, 0, 16<<20)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}
