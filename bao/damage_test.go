package bao

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math"
	"slices"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// TestLengthClaim changes the header to every kind of other size. Whatever comes
// out is the blob's bytes, and an end or a size only the true one.
func TestLengthClaim(t *testing.T) {
	for _, size := range []int{0, 1, 1025, GroupSize, 3*GroupSize + 7, 8 * GroupSize} {
		tr := plant(t, random(3, size), groupLog, 1)
		for _, off := range []int64{0, GroupSize, int64(size) / 2, int64(size), int64(size) + 1} {
			for _, n := range []int64{1, GroupSize, math.MaxInt64} {
				b := tr.encode(t, off, n)
				for claim := range int64(10 * GroupSize) {
					if d := claim - int64(size); (d < -3 || d > 3) && claim%1021 != 0 && claim%GroupSize > 1 {
						continue
					}
					bad := bytes.Clone(b)
					putSize(bad, uint64(claim))
					got, r, err := decode(bad, tr.root, off, n, groupLog)
					want := part(tr.data, off, n)
					if !bytes.HasPrefix(want, got) || err == nil && len(got) != len(want) {
						t.Fatalf("%d from %d of %d, said to be %d: %d bytes, %v", n, off, size, claim, len(got), err)
					}
					if proved, ok := r.Size(); ok && proved != int64(size) {
						t.Fatalf("%d from %d of %d: a size of %d is proved", n, off, size, proved)
					}
				}
			}
		}
	}
}

func putSize(b []byte, size uint64) {
	for i := range 8 {
		b[i] = byte(size >> (8 * i))
	}
}

// TestEveryByte flips each byte of encodings, cuts them everywhere and adds to them.
func TestEveryByte(t *testing.T) {
	const size = 5*GroupSize + 100
	tr := plant(t, random(4, size), groupLog, 1)
	for _, s := range []struct{ off, n int64 }{{2*GroupSize - 5, 10}, {size - 20, 20}} {
		b := tr.encode(t, s.off, s.n)
		toEnd := s.off+s.n == size
		for i := range b {
			bad := bytes.Clone(b)
			bad[i] ^= 1 << (i % 8)
			got, r, err := decode(bad, tr.root, s.off, s.n, groupLog)
			if i < headerSize && !toEnd && err == nil { // the size is no part of what this slice proves
				if _, ok := r.Size(); ok || !bytes.Equal(got, part(tr.data, s.off, s.n)) {
					t.Errorf("flip in byte %d of the header: other bytes, or the size is said to be proved", i)
				}
				continue
			}
			if !isCorrupt(err) {
				t.Fatalf("flip in byte %d of %d: %v", i, len(b), err)
			}
			if !bytes.HasPrefix(part(tr.data, s.off, s.n), got) {
				t.Fatalf("flip in byte %d: %d wrong bytes came out", i, len(got))
			}
		}
		for i := range len(b) {
			if i > 300 && i%61 != 0 {
				continue
			}
			if _, _, err := decode(b[:i], tr.root, s.off, s.n, groupLog); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
		if _, _, err := decode(append(slices.Clip(b), 0), tr.root, s.off, s.n, groupLog); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("a byte behind: %v", err)
		}
	}
}

func TestDamageIsNotEncoded(t *testing.T) {
	tr := plant(t, random(5, 9*GroupSize), groupLog, 1)
	s := tr.shape.slice(3*GroupSize, 2*GroupSize)
	from, length := s.Extent()
	for _, write := range []func(context.Context, io.Writer, digest.Digest, Nodes, io.Reader) (int64, error){s.Encode, s.Copy} {
		for name, damage := range map[string]func(*tree){
			"data":  func(tr *tree) { tr.data[4*GroupSize+1] ^= 1 },
			"nodes": func(tr *tree) { p := tr.nodes[4]; p[40] ^= 1; tr.nodes[4] = p },
			"root":  func(tr *tree) { tr.root, _ = digest.Sum(digest.BLAKE3, nil) },
		} {
			bad := plant(t, bytes.Clone(tr.data), groupLog, 1)
			damage(bad)
			if _, err := write(t.Context(), io.Discard, bad.root, bad, io.NewSectionReader(bytes.NewReader(bad.data), from, length)); !errors.Is(err, digest.ErrMismatch) {
				t.Errorf("damaged %s: %v", name, err)
			}
		}
		if _, err := write(t.Context(), io.Discard, tr.root, tr, io.LimitReader(bytes.NewReader(tr.data[from:]), length-1)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("short data: %v", err)
		}
		delete(tr.nodes, 4)
		if _, err := write(t.Context(), io.Discard, tr.root, tr, bytes.NewReader(tr.data[from:])); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("absent node: %v", err)
		}
		tr = plant(t, tr.data, groupLog, 1)
		full := errors.New("full")
		if _, err := write(t.Context(), failing{full}, tr.root, tr, bytes.NewReader(tr.data[from:])); !errors.Is(err, full) {
			t.Errorf("writer that fails: %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := write(ctx, io.Discard, tr.root, tr, bytes.NewReader(tr.data[from:])); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled: %v", err)
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
