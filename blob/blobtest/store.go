package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
)

func testBadKeys(t *testing.T, s blob.Store) {
	for _, key := range BadKeys() {
		if err := s.Put(t.Context(), key, bytes.NewReader(nil)); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Put(%q): %v, want fs.ErrInvalid", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Delete(%q): %v, want fs.ErrInvalid", key, err)
		}
		if _, err := s.Stat(t.Context(), key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Stat(%q): %v, want fs.ErrInvalid", key, err)
		}
	}
	wantKeys(t, s, "")
}

func testCanceled(t *testing.T, s blob.Store) {
	put(t, s, "k", []byte("v"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, statErr := s.Stat(ctx, "k")
	var listErr error
	for _, listErr = range s.List(ctx, "") {
	}
	for call, err := range map[string]error{
		"Put": s.Put(ctx, "k", bytes.NewReader(nil)), "Delete": s.Delete(ctx, "k"), "Stat": statErr, "List": listErr,
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a canceled context: %v, want context.Canceled", call, err)
		}
	}
	want(t, s, "k", []byte("v"))
}

func testPutError(t *testing.T, s blob.Store) {
	broken := errors.New("broken source")
	for _, size := range []int{0, 1, 1 << 20} {
		r := io.MultiReader(bytes.NewReader(pattern(size)), iotest.ErrReader(broken))
		if err := s.Put(t.Context(), "dir/new", r); !errors.Is(err, broken) {
			t.Errorf("Put of %d bytes and an error: %v, want the error of the reader", size, err)
		}
		wantAbsent(t, s, "dir/new")
		wantKeys(t, s, "")
	}
	put(t, s, "old", []byte("old"))
	if err := s.Put(t.Context(), "old", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("Put: %v, want the error of the reader", err)
	}
	want(t, s, "old", []byte("old"))
}

func testReplace(t *testing.T, s blob.Store) {
	versions := map[string]bool{}
	contents := [][]byte{pattern(100 << 10), []byte("short"), {}, []byte("other"), pattern(50 << 10)}
	for _, b := range contents {
		put(t, s, "dir/k", b)
		want(t, s, "dir/k", b)
		i, err := s.Stat(t.Context(), "dir/k")
		if err != nil || i.Size != int64(len(b)) {
			t.Errorf("Stat = %+v, %v, want size %d", i, err, len(b))
		}
		versions[i.Version] = true
	}
	if len(versions) != len(contents) {
		t.Errorf("%d contents have %d versions", len(contents), len(versions))
	}
	wantKeys(t, s, "", "dir/k")
}

func testDelete(t *testing.T, s blob.Store) {
	put(t, s, "a/b", []byte("1"))
	put(t, s, "a/c", []byte("2"))
	for range 2 { // an absent key is no error
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Errorf("Delete: %v", err)
		}
		wantAbsent(t, s, "a/b")
	}
	for _, key := range []string{"absent", "absent/too", "a", "a/c/below"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("Delete(%q): %v", key, err)
		}
	}
	wantKeys(t, s, "", "a/c")
	put(t, s, "a/b", []byte("again"))
	want(t, s, "a/b", []byte("again"))
}

func testList(t *testing.T, s blob.Store) {
	// '.' and '-' sort before the slash: the order of keys is not that of a walk.
	all := []string{"a", "a-b", "a-b.car", "b.d", "b/c", "b/c-", "b/d/e", "b0", "bc", "B", ".hidden", "é", "x/.y/z"}
	for i, key := range all {
		put(t, s, key, pattern(i))
	}
	slices.Sort(all)
	wantKeys(t, s, "", all...)
	for _, prefix := range []string{"a", "a-", "a-b.car", "b", "b/", "b/c", "b/d", "b/d/", "b/d/e", "x/", "x/.", ".", "none", "b/none/", "../", "é"} {
		var match []string
		for _, key := range all {
			if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
				match = append(match, key)
			}
		}
		wantKeys(t, s, prefix, match...)
	}
	for i, err := range s.List(t.Context(), "") {
		st, serr := s.Stat(t.Context(), i.Key)
		if diff := cmp.Diff(st, i); err != nil || serr != nil || diff != "" {
			t.Errorf("List and Stat of %q differ: %v, %v\n%s", i.Key, err, serr, diff)
		}
	}
}

func testListBreak(t *testing.T, s blob.Store) {
	for i := range 10 {
		put(t, s, fmt.Sprintf("d%d/k", i), nil)
	}
	n := 0
	for range s.List(t.Context(), "") {
		if n++; n == 3 {
			break
		}
	}
	// What is listed may be deleted on the way.
	for i, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Delete(t.Context(), i.Key); err != nil {
			t.Fatal(err)
		}
	}
	wantKeys(t, s, "")
}

func testConcurrentPuts(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 8 {
				if err := s.Put(t.Context(), "one/key", bytes.NewReader(uniform(w, 100<<10+w))); err != nil {
					t.Errorf("Put: %v", err)
				}
				if err := s.Put(t.Context(), fmt.Sprintf("new/%d/%d", w, i), bytes.NewReader(uniform(w, 100))); err != nil {
					t.Errorf("Put: %v", err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				checkUniform(t, s, "one/key")
			}
		})
	}
	wg.Wait()
	if n := len(keys(t, s, "")); n != 1+4*8 {
		t.Errorf("%d objects after the puts, want %d", n, 1+4*8)
	}
	checkUniform(t, s, "one/key")
}

// uniform is n bytes of value w; a mixture shows.
func uniform(w, n int) []byte { return bytes.Repeat([]byte{byte(w)}, n) }

func checkUniform(t *testing.T, s blob.Store, key string) {
	o, err := s.Get(t.Context(), key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Errorf("Get: %v", err)
		return
	}
	defer o.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, o); err != nil {
		t.Errorf("read: %v", err)
		return
	}
	if got := b.Bytes(); int64(len(got)) != o.Info().Size || !bytes.Equal(got, uniform(int(got[0]), 100<<10+int(got[0]))) {
		t.Errorf("%d bytes that nobody put", len(got))
	}
}

// testOpenObjects replaces and deletes what is being read.
func testOpenObjects(t *testing.T, s blob.Store) {
	b := pattern(300 << 10)
	put(t, s, "k", b)
	for name, change := range map[string]func() error{
		"replaced": func() error { return s.Put(t.Context(), "k", bytes.NewReader([]byte("other"))) },
		"deleted":  func() error { return s.Delete(t.Context(), "k") },
	} {
		put(t, s, "k", b)
		o, err := s.Get(t.Context(), "k", 10, -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		n, err := io.Copy(&got, o)
		// Some stores can still read it, others say that they cannot.
		if err == nil && !bytes.Equal(got.Bytes(), b[10:]) {
			t.Errorf("%s while open: %d bytes that differ from what was opened", name, n)
		}
		o.Close()
	}
}

func testConcurrentGets(t *testing.T, g blob.Getter, key string, b []byte) {
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 10 {
				off, n := (w*10+i)*len(b)/100, len(b)/7+i
				part := b[off:min(off+n, len(b))]
				o, err := g.Get(t.Context(), key, int64(off), int64(n))
				if err != nil {
					t.Errorf("Get: %v", err)
					continue
				}
				var got bytes.Buffer
				if _, err := io.Copy(&got, o); err != nil || !bytes.Equal(got.Bytes(), part) {
					t.Errorf("%d+%d: %d bytes, %v", off, n, got.Len(), err)
				}
				o.Close()
			}
		})
	}
	wg.Wait()
}
