package bao

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/hashstream/hashstream/digest"
)

// FuzzReader gives hostile streams to a Reader: whatever it gives out is the blob's,
// and what it accepts is what Encode writes.
func FuzzReader(f *testing.F) {
	tr := plant(f, random(6, 3*GroupSize+9), groupLog, 1)
	for _, s := range [][2]int64{{0, 1 << 40}, {GroupSize, 1}, {3 * GroupSize, 9}, {1 << 50, 0}} {
		f.Add(tr.encode(f, s[0], s[1]), s[0], s[1])
	}
	f.Add([]byte{}, int64(-1), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, off, n int64) {
		got, r, err := decode(b, tr.root, off, n, groupLog)
		if off < 0 || n < 0 {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Fatalf("%d from %d: %v", n, off, err)
			}
			return
		}
		want := part(tr.data, off, n)
		if !bytes.HasPrefix(want, got) {
			t.Fatalf("%d from %d: %d bytes that are not the blob's", n, off, len(got))
		}
		if size, ok := r.Size(); ok && size != int64(len(tr.data)) {
			t.Fatalf("%d from %d: proved a size of %d", n, off, size)
		}
		if err != nil {
			if !isCorrupt(err) {
				t.Fatalf("error without kind: %v", err)
			}
			return
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%d from %d: %d bytes, want %d", n, off, len(got), len(want))
		}
		// But for a size that nothing in the slice proves, there is one spelling.
		if !bytes.Equal(b[headerSize:], tr.encode(t, off, n)[headerSize:]) {
			t.Fatalf("%d from %d: two encodings", n, off)
		}
	})
}

// FuzzSlice checks the arithmetic of slices of blobs that nobody has.
func FuzzSlice(f *testing.F) {
	f.Add(int64(10<<30), int64(5<<30+1), int64(1<<20))
	f.Add(int64(MaxSize), int64(MaxSize-1), int64(MaxSize))
	f.Add(int64(0), int64(0), int64(0))
	f.Fuzz(func(t *testing.T, size, off, n int64) {
		s, err := NewSlice(size, off, n)
		if bad := size < 0 || size > MaxSize || off < 0 || n < 0; bad != (err != nil) {
			t.Fatalf("%d from %d of %d: %v", n, off, size, err)
		}
		if err != nil {
			return
		}
		from, length := s.Range()
		start, extent := s.Extent()
		if length > 0 && (start > from || start+extent < from+length) || start+extent > size || start%GroupSize != 0 || size > 0 && extent == 0 {
			t.Fatalf("%d from %d of %d: range %d+%d in extent %d+%d", n, off, size, from, length, start, extent)
		}
		if extent > 100*GroupSize {
			s.EncodedSize()
			return
		}
		if got := headerSize + 64*count(t, s) + extent; s.EncodedSize() != got {
			t.Fatalf("%d from %d of %d: EncodedSize %d, the walk takes %d", n, off, size, s.EncodedSize(), got)
		}
	})
}

// count counts the parents of a slice by walking through its tree.
func count(t *testing.T, s Slice) (n int64) {
	first, last := s.ends()
	pending := []subtree{{end: s.shape.groups()}}
	for len(pending) > 0 {
		top := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if top.leaf() || top.first > last || top.end <= first {
			continue
		}
		n++
		pending = append(pending, subtree{first: top.first, end: top.split()}, subtree{first: top.split(), end: top.end})
	}
	return n
}

// failAt reads zeros, then fails.
type failAt struct {
	at  int64
	err error
}

func (f failAt) ReadAt(b []byte, off int64) (int, error) {
	if n := f.at - off; n < int64(len(b)) {
		return int(max(n, 0)), f.err
	}
	return len(b), nil
}

func TestSumFails(t *testing.T) {
	broken := errors.New("broken")
	h := NewHasher(&HasherOptions{Workers: 3})
	for _, size := range []int64{0, 100, 20<<20 + 5} {
		want, err := h.SumAt(t.Context(), failAt{1 << 40, nil}, size, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int64{0, 99, 1 << 20, 20 << 20} {
			if at >= size {
				continue
			}
			if _, _, err := h.Sum(t.Context(), io.MultiReader(io.NewSectionReader(failAt{1 << 40, nil}, 0, at), failing{broken}), nil); !errors.Is(err, broken) {
				t.Errorf("Sum that fails at %d: %v", at, err)
			}
			if _, err := h.SumAt(t.Context(), failAt{at, broken}, size, nil); !errors.Is(err, broken) {
				t.Errorf("SumAt that fails at %d: %v", at, err)
			}
			if _, err := h.SumAt(t.Context(), failAt{at, io.EOF}, size, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("SumAt of a blob that ends at %d: %v", at, err)
			}
		}
		// A Hasher works after a failure as before.
		if got, err := h.SumAt(t.Context(), failAt{1 << 40, nil}, size, nil); err != nil || got != want {
			t.Errorf("after failures: %s, %v, want %s", got, err, want)
		}
	}
	if _, err := h.SumAt(t.Context(), failAt{}, -1, nil); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("negative size: %v", err)
	}
}

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestReaderRefuses(t *testing.T) {
	sha, _ := digest.Sum(digest.SHA256, nil)
	if _, err := NewReader(nil, sha, 0, 1); !errors.Is(err, digest.ErrUnsupported) {
		t.Errorf("sha2-256: %v", err)
	}
	if _, err := NewReader(nil, digest.Digest{}, 0, 1); !errors.Is(err, digest.ErrUnsupported) {
		t.Errorf("no digest: %v", err)
	}
	b3, _ := digest.Sum(digest.BLAKE3, nil)
	broken := errors.New("broken")
	r, err := NewReader(failing{broken}, b3, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // an error stays
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, broken) {
			t.Errorf("source that fails: %v", err)
		}
	}
	r, _ = NewReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 100)), b3, 0, 1)
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("size of 2^64-1: %v", err)
	}
}
