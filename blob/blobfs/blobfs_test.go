package blobfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobfs"
	"github.com/hashstream/hashstream/blob/httpblob"
	"github.com/hashstream/hashstream/blob/treeblob"
)

// store is a directory as a store of objects.
func store(t *testing.T) (*treeblob.Tree, string) {
	t.Helper()
	dir := t.TempDir()
	tree, err := treeblob.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree, dir
}

func TestFile(t *testing.T) {
	tree, dir := store(t)
	for _, size := range []int{0, 1, 99, 100, 101, 399, 400, 401, 1234} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rand.Uint32())
		}
		if err := os.WriteFile(filepath.Join(dir, "file"), want, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := blobfs.New(t.Context(), tree, nil, &blobfs.Options{Range: 100, Ahead: 2}).Open("file")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(iotest.OneByteReader(f))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: read %d that are equal: %v, %v", size, len(got), bytes.Equal(got, want), err)
		}
		if fi, err := f.Stat(); err != nil || fi.Size() != int64(size) || blobfs.Identity(fi) == "" {
			t.Errorf("%d bytes: described as %v, %v", size, fi, err)
		}
		f.Close()
	}
}

// TestReplaced replaces an object while it is read: the ranges of two versions are not
// joined.
func TestReplaced(t *testing.T) {
	tree, dir := store(t)
	name := filepath.Join(dir, "file")
	os.WriteFile(name, make([]byte, 10_000), 0o644)
	f, err := blobfs.New(t.Context(), tree, nil, &blobfs.Options{Range: 1000, Ahead: 1}).Open("file")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(name+"2", bytes.Repeat([]byte{1}, 10_000), 0o644)
	os.Chtimes(name+"2", time.Unix(1e9, 0), time.Unix(1e9, 0))
	os.Rename(name+"2", name)
	rest, err := io.ReadAll(f)
	if !errors.Is(err, blob.ErrChanged) || bytes.IndexByte(rest, 1) >= 0 {
		t.Errorf("read %d bytes, %v", len(rest), err)
	}
}

// TestClosedEarly gives up what is read ahead.
func TestClosedEarly(t *testing.T) {
	var open atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Add(-1)
		w.Header().Set("ETag", `"1"`)
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(make([]byte, 1000)))
			return
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	g, err := httpblob.New(s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := blobfs.New(t.Context(), g, nil, &blobfs.Options{Range: 100}).Open("file")
	if err != nil {
		t.Fatal(err)
	}
	for open.Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	f.Close()
	for open.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

func list(tree *treeblob.Tree) func(context.Context, string) iter.Seq2[blobfs.Entry, error] {
	return func(_ context.Context, prefix string) iter.Seq2[blobfs.Entry, error] {
		return func(yield func(blobfs.Entry, error) bool) {
			found, err := fs.ReadDir(tree.FS(), path.Clean(prefix))
			if err != nil {
				yield(blobfs.Entry{}, err)
				return
			}
			for _, e := range found {
				fi, _ := e.Info()
				if !yield(blobfs.Entry{Name: e.Name(), Dir: e.IsDir(), Info: blob.Info{Size: fi.Size()}}, nil) {
					return
				}
			}
		}
	}
}

func TestReadDir(t *testing.T) {
	tree, dir := store(t)
	for _, name := range []string{"a.txt", "a/x", "b"} {
		os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644)
	}
	fsys := blobfs.New(t.Context(), tree, list(tree), nil)
	var got []string
	err := fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		got = append(got, p)
		return err
	})
	if diff := cmp.Diff([]string{".", "a", "a/x", "a.txt", "b"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	twice := func(context.Context, string) iter.Seq2[blobfs.Entry, error] {
		return func(yield func(blobfs.Entry, error) bool) {
			_ = yield(blobfs.Entry{Name: "a", Dir: true}, nil) && yield(blobfs.Entry{Name: "a"}, nil)
		}
	}
	if _, err := blobfs.New(t.Context(), tree, twice, nil).ReadDir("."); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("an object and a directory of one name: %v", err)
	}
}

func ExampleNew() {
	dir, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(dir)
	os.WriteFile(filepath.Join(dir, "greeting"), []byte("hello"), 0o644)
	tree, _ := treeblob.Open(dir)
	defer tree.Close()

	b, _ := fs.ReadFile(blobfs.New(context.Background(), tree, nil, nil), "greeting")
	fmt.Println(string(b))
	// Output: hello
}
