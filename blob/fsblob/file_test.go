package fsblob_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/blob"
)

func put(t testing.TB, s blob.Putter, key string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s blob.Getter, key string) string {
	t.Helper()
	o, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	b, err := io.ReadAll(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignChange changes files behind the store's back while it has them open.
func TestForeignChange(t *testing.T) {
	for name, c := range map[string]struct {
		change func(t *testing.T, path string)
		want   string // empty: absent
	}{
		"removed": {func(t *testing.T, path string) { must(t, os.Remove(path)) }, ""},
		"removed with a second name": {func(t *testing.T, path string) {
			must(t, os.Link(path, path+"2"))
			must(t, os.Remove(path))
		}, ""},
		"moved away":     {func(t *testing.T, path string) { must(t, os.Rename(path, path+"2")) }, ""},
		"parent renamed": {func(t *testing.T, path string) { d := filepath.Dir(path); must(t, os.Rename(d, d+"2")) }, ""},
		"replaced": {func(t *testing.T, path string) {
			must(t, os.WriteFile(path+"2", []byte("newer"), 0o600))
			must(t, os.Rename(path+"2", path))
		}, "newer"},
		"appended": {func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("+")
			must(t, errors.Join(err, f.Close()))
		}, "older+"},
		"rewritten": {func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte("OLDER"), 0))
			must(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)))
		}, "OLDER"},
		"now a directory": {func(t *testing.T, path string) {
			must(t, os.Remove(path))
			must(t, os.Mkdir(path, 0o700))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, nil)
			put(t, s, "d/k", []byte("older"))
			before, err := s.Stat(t.Context(), "d/k")
			must(t, err)
			if got := get(t, s, "d/k"); got != "older" {
				t.Fatalf("Get = %q", got)
			}
			c.change(t, filepath.Join(dir, "d/k"))
			if c.want == "" {
				if _, err := s.Get(t.Context(), "d/k", 0, -1); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Get: %v, want fs.ErrNotExist", err)
				}
				return
			}
			if got := get(t, s, "d/k"); got != c.want {
				t.Errorf("Get = %q, want %q", got, c.want)
			}
			if after, err := s.Stat(t.Context(), "d/k"); err != nil || after.Version == before.Version {
				t.Errorf("Stat: version %s before and %s after, %v", before.Version, after.Version, err)
			}
		})
	}
}

// TestShrunk: bytes that are gone are an error in each way of reading.
func TestShrunk(t *testing.T) {
	for name, read := range map[string]func(o blob.Object) (int64, error){
		"Read":     func(o blob.Object) (int64, error) { return io.Copy(io.Discard, struct{ io.Reader }{o}) },
		"Write":    func(o blob.Object) (int64, error) { return io.Copy(struct{ io.Writer }{io.Discard}, o) },
		"ReadFrom": func(o blob.Object) (int64, error) { return io.Copy(new(bytes.Buffer), o) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, nil)
			put(t, s, "k", make([]byte, 1<<20))
			o, err := s.Get(t.Context(), "k", 1000, -1)
			must(t, err)
			defer o.Close()
			must(t, os.Truncate(filepath.Join(dir, "k"), 500_000))
			if n, err := read(o); n != 499_000 || !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d bytes, %v, want 499000 and io.ErrUnexpectedEOF", n, err)
			}
		})
	}
}

// readerFrom is what a connection is to an object.
type readerFrom struct {
	io.Writer
	readFrom func(r io.Reader) (int64, error)
}

func (f readerFrom) ReadFrom(r io.Reader) (int64, error) { return f.readFrom(r) }

// TestShrunkWhileSent: the file is open for sending when it becomes shorter.
func TestShrunkWhileSent(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	put(t, s, "k", make([]byte, 1<<20))
	o, err := s.Get(t.Context(), "k", 1000, -1)
	must(t, err)
	defer o.Close()
	n, err := o.(io.WriterTo).WriteTo(readerFrom{nil, func(r io.Reader) (int64, error) {
		must(t, os.Truncate(filepath.Join(dir, "k"), 500_000))
		return io.Copy(io.Discard, r)
	}})
	if n != 499_000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%d bytes, %v, want 499000 and io.ErrUnexpectedEOF", n, err)
	}
}

// TestReplacedBeforeSend: the object is what was opened, also when the file for
// sending is opened later.
func TestReplacedBeforeSend(t *testing.T) {
	s := open(t, t.TempDir(), nil)
	old := bytes.Repeat([]byte("old"), 100_000)
	put(t, s, "k", old)
	o, err := s.Get(t.Context(), "k", 0, -1)
	must(t, err)
	defer o.Close()
	put(t, s, "k", bytes.Repeat([]byte("new"), 100_000))
	var b bytes.Buffer
	if _, err := io.Copy(&b, o); err != nil || !bytes.Equal(b.Bytes(), old) {
		t.Errorf("%d bytes, %v: not what was opened", b.Len(), err)
	}
}

func TestOddFiles(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	s := open(t, dir, nil)
	put(t, s, "real/file", []byte("inside"))
	for link, target := range map[string]string{
		"absolute": outside, "up": "../../../../../../../../../.." + outside, "parent": "..", "dangling": "nowhere",
		"loop": "loop", "inside": "real/file", "dirlink": "real",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, link)))
	}
	must(t, syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))

	for _, key := range []string{"absolute", "up", "parent/x", "dangling", "loop", "pipe", "parent", "dirlink"} {
		if o, err := s.Get(t.Context(), key, 0, -1); err == nil {
			t.Errorf("Get(%q) = %+v, want an error", key, o.Info())
		} else if strings.Contains(err.Error(), dir) {
			t.Errorf("Get(%q): %v names the directory", key, err)
		}
		if i, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("Stat(%q) = %+v, want an error", key, i)
		}
	}
	for _, key := range []string{"parent/x", "real", "real/file/below"} {
		if err := s.Put(t.Context(), key, strings.NewReader("x")); err == nil {
			t.Errorf("Put(%q) succeeded", key)
		}
	}
	if got := get(t, s, "inside") + get(t, s, "dirlink/file"); got != "insideinside" {
		t.Errorf("through links inside the root: %q", got)
	}
	var keys []string
	for i, err := range s.List(t.Context(), "") {
		must(t, err)
		keys = append(keys, i.Key)
	}
	if got := strings.Join(keys, " "); got != "inside real/file" {
		t.Errorf("List = %s, want inside real/file", got)
	}
	must(t, s.Delete(t.Context(), "absolute"))
	if b, err := os.ReadFile(outside); err != nil || string(b) != "secret" {
		t.Errorf("the file outside is %q, %v", b, err)
	}
}

func TestReserved(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	d, err := s.Draft(t.Context())
	must(t, err)
	defer d.Discard()
	names := temps(t, dir)
	if len(names) != 1 {
		t.Fatalf("temporary files %q, want one", names)
	}
	for _, key := range []string{".tmp", ".tmp/x", ".tmp/" + names[0]} {
		if _, err := s.Get(t.Context(), key, 0, -1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Get(%q): %v, want fs.ErrInvalid", key, err)
		}
		if err := s.Put(t.Context(), key, strings.NewReader("")); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Put(%q): %v, want fs.ErrInvalid", key, err)
		}
		if err := s.Delete(t.Context(), key); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("Delete(%q): %v, want fs.ErrInvalid", key, err)
		}
		for i, err := range s.List(t.Context(), key) {
			t.Errorf("List(%q) yields %v, %v", key, i, err)
		}
	}
}

func temps(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, ".tmp"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// openFDs counts the descriptors of this process that lead below dir.
func openFDs(t *testing.T, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, dir+"/") {
			n++
		}
	}
	return n
}

func TestOpenFilesAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, nil)
	for i := range 300 {
		key := "k" + string(rune('0'+i/100)) + string(rune('0'+i/10%10)) + string(rune('0'+i%10))
		must(t, os.WriteFile(filepath.Join(dir, key), nil, 0o600))
		get(t, s, key)
	}
	if n := openFDs(t, dir); n != 128 {
		t.Errorf("%d open files after 300 reads, want 128", n)
	}
	must(t, s.Close())
	if n := openFDs(t, dir); n != 0 {
		t.Errorf("%d open files after Close", n)
	}
	if _, err := s.Get(t.Context(), "k000", 0, -1); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Get after Close: %v, want fs.ErrClosed", err)
	}
}

// TestIdleFilesAreClosed: a deleted file gives its space back though nobody asks.
func TestIdleFilesAreClosed(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := open(t, dir, nil)
		put(t, s, "k", make([]byte, 100<<10))
		o, err := s.Get(t.Context(), "k", 0, -1)
		must(t, err)
		_, err = io.Copy(new(bytes.Buffer), o)
		must(t, errors.Join(err, o.Close()))
		if n := openFDs(t, dir); n != 2 {
			t.Errorf("%d open files after a send, want the shared one and the sender's", n)
		}
		time.Sleep(9 * time.Second)
		get(t, s, "k")
		time.Sleep(9 * time.Second)
		if n := openFDs(t, dir); n != 2 {
			t.Errorf("%d open files while in use, want 2", n)
		}
		time.Sleep(12 * time.Second)
		if n := openFDs(t, dir); n != 0 {
			t.Errorf("%d open files when idle, want none", n)
		}
	})
}
