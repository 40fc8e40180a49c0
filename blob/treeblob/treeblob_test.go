package treeblob_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/treeblob"
)

func TestGetter(t *testing.T) {
	blobtest.RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
		tree, dir := open(t)
		for key, b := range objects {
			path := filepath.Join(dir, filepath.FromSlash(key))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, b, 0o644))
		}
		return tree
	})
}

// TestChanged changes a file in every way between two reads of it.
func TestChanged(t *testing.T) {
	const content = "as it was"
	for name, change := range map[string]func(t *testing.T, path string){
		"written in place": func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("as it is!"), 0o644)) },
		"grown":            func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte(content+"+"), 0o644)) },
		"truncated":        func(t *testing.T, path string) { must(t, os.Truncate(path, 3)) },
		"replaced": func(t *testing.T, path string) {
			must(t, os.WriteFile(path+"2", []byte(content), 0o644))
			must(t, os.Chtimes(path+"2", time.Unix(1e9, 0), time.Unix(1e9, 0)))
			must(t, os.Rename(path+"2", path))
		},
		"a directory": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o755))
		},
		"a pipe": func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, syscall.Mkfifo(path, 0o644))
		},
		"a link out of the tree": func(t *testing.T, path string) {
			must(t, os.Rename(path, filepath.Join(t.TempDir(), "out")))
			must(t, os.Symlink("/etc/hostname", path))
		},
		"below a file": func(t *testing.T, path string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			must(t, os.WriteFile(filepath.Dir(path), nil, 0o644))
		},
		"removed": func(t *testing.T, path string) { must(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			tree, dir := open(t)
			path := filepath.Join(dir, "sub", "file")
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			must(t, os.WriteFile(path, []byte(content), 0o644))
			must(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
			info, err := tree.Stat(t.Context(), "sub/file")
			must(t, err)

			change(t, path)
			obj, err := tree.GetIf(t.Context(), "sub/file", info.Identity, 0, -1)
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("GetIf gives %v, %v, want an error that matches fs.ErrNotExist", obj, err)
			}
		})
	}
}

func TestSameFile(t *testing.T) {
	tree, dir := open(t)
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("one"), 0o644))
	a, err := tree.Stat(t.Context(), "a")
	must(t, err)
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "link")))
	must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "renamed")))
	for _, name := range []string{"link", "renamed"} {
		obj, err := tree.GetIf(t.Context(), name, a.Identity, 0, -1)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		obj.Close()
		fa, err := os.Stat(filepath.Join(dir, "link"))
		must(t, err)
		fb, err := os.Stat(filepath.Join(dir, name))
		must(t, err)
		if treeblob.Same(fa) != treeblob.Same(fb) || treeblob.Same(fa) == "" {
			t.Errorf("Same of %s is %q, of the link %q", name, treeblob.Same(fb), treeblob.Same(fa))
		}
	}
}

// TestRecheck changes a file while it is read: size, times and inode stay the same,
// only the time of the last status change tells.
func TestRecheck(t *testing.T) {
	tree, dir := open(t)
	path := filepath.Join(dir, "file")
	must(t, os.WriteFile(path, []byte("before"), 0o644))
	must(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	obj, err := tree.Get(t.Context(), "file", 0, -1)
	must(t, err)
	defer obj.Close()
	if err := obj.(blob.Rechecker).Recheck(); err != nil {
		t.Fatalf("Recheck of a file that did not change: %v", err)
	}
	time.Sleep(20 * time.Millisecond) // the kernel's clock ticks at least every 10 ms
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("after!"), 0)
	must(t, errors.Join(err, f.Close()))
	must(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	if err := obj.(blob.Rechecker).Recheck(); !errors.Is(err, blob.ErrChanged) {
		t.Errorf("Recheck after a change gives %v", err)
	}
	must(t, os.Truncate(path, 2))
	if _, err := io.ReadAll(obj); !errors.Is(err, blob.ErrChanged) {
		t.Errorf("reading a file that became shorter gives %v", err)
	}
}

// TestVersionOfYoungFile: a file that was just written may be written again without a
// trace, so nothing that was verified of it may be remembered.
func TestVersionOfYoungFile(t *testing.T) {
	tree, dir := open(t)
	path := filepath.Join(dir, "file")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Chtimes(path, time.Unix(1e9, 0), time.Unix(1e9, 0)))
	info, err := tree.Stat(t.Context(), "file")
	must(t, err)
	if info.Version != "" || info.Identity == "" {
		t.Errorf("version %q, identity %q: want none and one", info.Version, info.Identity)
	}
}

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "")
	defer os.RemoveAll(dir)
	os.WriteFile(filepath.Join(dir, "report.txt"), []byte("draft"), 0o644)
	tree, _ := treeblob.Open(dir)
	defer tree.Close()
	info, _ := tree.Stat(context.Background(), "report.txt")

	os.WriteFile(filepath.Join(dir, "report.txt"), []byte("final text"), 0o644)
	_, err := tree.GetIf(context.Background(), "report.txt", info.Identity, 0, -1)
	fmt.Println(errors.Is(err, blob.ErrChanged))
	// Output: true
}

func open(t *testing.T) (*treeblob.Tree, string) {
	t.Helper()
	dir := t.TempDir()
	tree, err := treeblob.Open(dir)
	must(t, err)
	t.Cleanup(func() { tree.Close() })
	return tree, dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
