// Package blobtest is the suite that every blob backend and decorator passes.
//
//	func TestStore(t *testing.T) {
//		blobtest.Run(t, func(t *testing.T) blob.Store { return mystore.New() })
//	}
//
// Third parties run it on their stores. A store that implements [blob.Drafter]
// is tested as one.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
)

// Run tests a store. Each call of open returns an empty store of its own, which
// open closes by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	t.Run("Getter", func(t *testing.T) {
		RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
			s := open(t)
			for key, b := range objects {
				put(t, s, key, b)
			}
			return s
		})
	})
	for _, c := range []struct {
		name string
		test func(t *testing.T, s blob.Store)
	}{
		{"BadKeys", testBadKeys},
		{"Canceled", testCanceled},
		{"PutError", testPutError},
		{"Replace", testReplace},
		{"Delete", testDelete},
		{"List", testList},
		{"ListBreak", testListBreak},
		{"ConcurrentPuts", testConcurrentPuts},
		{"OpenObjects", testOpenObjects},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
	if _, ok := open(t).(blob.Drafter); ok {
		t.Run("Drafter", func(t *testing.T) { runDrafter(t, open) })
	}
}

// RunGetter tests reading alone. Open returns a getter of exactly the given
// objects. If the getter is a [blob.Stater] that is tested too.
func RunGetter(t *testing.T, open func(t *testing.T, objects map[string][]byte) blob.Getter) {
	objects := map[string][]byte{
		"empty":          {},
		"small":          []byte("hello, world"),
		"dir/large":      pattern(3 << 20),
		"dir/a b/ü%2f?#": []byte("a key that needs escaping"),
	}
	g := open(t, maps.Clone(objects))
	for key, want := range objects {
		t.Run(key, func(t *testing.T) { testRanges(t, g, key, want) })
	}
	t.Run("Absent", func(t *testing.T) { testAbsent(t, g) })
	t.Run("Concurrent", func(t *testing.T) { testConcurrentGets(t, g, "dir/large", objects["dir/large"]) })
}

func testRanges(t *testing.T, g blob.Getter, key string, want []byte) {
	size := int64(len(want))
	for _, c := range []struct{ off, n int64 }{
		{0, -1}, {0, 0}, {0, 1}, {0, size}, {0, size + 1}, {0, size + 1<<40}, {0, 1<<63 - 1},
		{1, -1}, {1, 3}, {size / 2, -1}, {size / 2, 40 << 10}, {size / 3, size / 3}, {size - 1, 1}, {size - 1, 1 << 20},
		{size, -1}, {size, 0}, {size, 5}, {size + 1, 0}, {size + 1, -1}, {size + 1, 1}, {1 << 62, 1 << 62},
	} {
		if c.off < 0 {
			continue
		}
		if c.off > size {
			if o, err := g.Get(t.Context(), key, c.off, c.n); !errors.Is(err, blob.ErrRange) {
				t.Errorf("Get(%d, %d) of %d bytes = %v, %v, want ErrRange", c.off, c.n, size, o, err)
			}
			continue
		}
		part := want[c.off:]
		if c.n >= 0 {
			part = part[:min(c.n, int64(len(part)))]
		}
		testRange(t, g, key, c.off, c.n, size, part)
	}
	if _, err := g.Get(t.Context(), key, -1, 1); err == nil {
		t.Error("Get of a negative offset succeeded")
	}
	if s, ok := g.(blob.Stater); ok {
		testStat(t, g, s, key, size)
	}
}

// testRange reads one range in each of the ways that an object offers.
func testRange(t *testing.T, g blob.Getter, key string, off, n, size int64, want []byte) {
	t.Helper()
	for way, read := range map[string]func(blob.Object) ([]byte, error){
		"Read": func(o blob.Object) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{o}) },
		"WriteTo a writer": func(o blob.Object) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(struct{ io.Writer }{&b}, o)
			return b.Bytes(), err
		},
		"WriteTo a ReaderFrom": func(o blob.Object) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, o)
			return b.Bytes(), err
		},
		"Read, then WriteTo": func(o blob.Object) ([]byte, error) {
			head := make([]byte, min(3, len(want)))
			if _, err := io.ReadFull(o, head); err != nil {
				return nil, err
			}
			b := bytes.NewBuffer(head)
			_, err := io.Copy(b, o)
			return b.Bytes(), err
		},
	} {
		o, err := g.Get(t.Context(), key, off, n)
		if err != nil {
			t.Errorf("Get(%d, %d): %v", off, n, err)
			return
		}
		if i := o.Info(); i.Key != key || i.Size != size {
			t.Errorf("Get(%d, %d): Info = %+v, want key %q, size %d", off, n, i, key, size)
		}
		got, err := read(o)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("Get(%d, %d), %s: %d bytes, %v, want %d", off, n, way, len(got), err, len(want))
		}
		if err := o.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func testStat(t *testing.T, g blob.Getter, s blob.Stater, key string, size int64) {
	i, err := s.Stat(t.Context(), key)
	if err != nil || i.Key != key || i.Size != size {
		t.Errorf("Stat = %+v, %v, want size %d", i, err, size)
	}
	o, err := g.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if diff := cmp.Diff(i, o.Info()); diff != "" {
		t.Errorf("Stat and Get describe the object differently (-Stat +Get):\n%s", diff)
	}
}

func testAbsent(t *testing.T, g blob.Getter) {
	for _, key := range []string{"absent", "dir", "dir/absent", "small/below", "Small"} {
		if _, err := g.Get(t.Context(), key, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q): %v, want fs.ErrNotExist", key, err)
		}
		if _, err := g.Get(t.Context(), key, 1<<40, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q) far away: %v, want fs.ErrNotExist", key, err)
		}
		if s, ok := g.(blob.Stater); ok {
			if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat(%q): %v, want fs.ErrNotExist", key, err)
			}
		}
	}
	for _, key := range BadKeys() {
		if _, err := g.Get(t.Context(), key, 0, -1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Get(%q): %v, want fs.ErrInvalid", key, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := g.Get(ctx, "small", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("Get with a canceled context: %v", err)
	}
}

// BadKeys are keys that every store refuses with an error that matches [fs.ErrInvalid].
func BadKeys() []string {
	return []string{
		"", ".", "..", "/", "/small", "small/", "./small", "../small", "dir/../small", "dir//large", "dir/./large",
		"..\x00", "sm\x00all", "\xff\xfe", "dir/\xc3",
	}
}

func put(t *testing.T, s blob.Putter, key string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(b)); err != nil {
		t.Fatalf("Put(%q): %v", key, err)
	}
}

// want checks that key holds exactly b.
func want(t *testing.T, g blob.Getter, key string, b []byte) {
	t.Helper()
	o, err := g.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Errorf("Get(%q): %v", key, err)
		return
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%q holds %d bytes, %v, want %d", key, len(got), err, len(b))
	}
}

func wantAbsent(t *testing.T, s blob.Store, key string) {
	t.Helper()
	if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(%q): %v, want fs.ErrNotExist", key, err)
	}
	if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Get(%q): %v, want fs.ErrNotExist", key, err)
	}
}

func keys(t *testing.T, s blob.Lister, prefix string) []string {
	t.Helper()
	var keys []string
	for i, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatalf("List(%q): %v", prefix, err)
		}
		keys = append(keys, i.Key)
	}
	return keys
}

func wantKeys(t *testing.T, s blob.Lister, prefix string, want ...string) {
	t.Helper()
	if got := keys(t, s, prefix); !slices.Equal(got, want) {
		t.Errorf("List(%q) (-want +got):\n%s", prefix, cmp.Diff(want, got))
	}
}

// pattern is n bytes that tell where they stand.
func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*7 ^ i>>16*13)
	}
	return b
}
