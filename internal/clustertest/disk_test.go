package clustertest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/pebblekv"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/unixfs"
)

// TestDiskNames scans trees with names and kinds of files that are unusual.
func TestDiskNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("n", 255)
	for name, c := range map[string]struct {
		make func(dir string) error
		want error // or nil: it is taken
		says string
	}{
		"newlines":   {func(dir string) error { return os.WriteFile(dir+"/line\nbreak \t\x01", []byte("x"), 0o644) }, nil, ""},
		"long names": {func(dir string) error { return os.WriteFile(dir+"/"+long, []byte("x"), 0o644) }, nil, ""},
		"no UTF-8":   {func(dir string) error { return os.WriteFile(dir+"/\xff\xfe", []byte("x"), 0o644) }, ingest.ErrName, `\xff\xfe`},
		"a pipe":     {func(dir string) error { return syscall.Mkfifo(dir+"/pipe", 0o644) }, ingest.ErrIrregular, "pipe"},
		"a link out": {func(dir string) error { return os.Symlink("/etc/hostname", dir+"/out") }, nil, ""},
		"a link up":  {func(dir string) error { return os.Symlink("../../..", dir+"/up") }, nil, ""},
		"no files":   {func(dir string) error { return errors.Join(os.Remove(dir+"/good"), os.MkdirAll(dir+"/a/b", 0o755)) }, nil, ""},
		"deep":       {func(dir string) error { return os.MkdirAll(dir+strings.Repeat("/d", 300), 0o755) }, nil, "nested more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, map[string]string{"good": "good"})
			must(t, c.make(dir))
			s := newSite(t, dir)
			got, err := s.tryScan(t.Context(), dir)
			if c.says != "" {
				if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
					t.Errorf("scan: %v", err)
				}
				return
			}
			must(t, err)
			root, want := added(t, s.profile, dir)
			if car, err := s.car(t.Context(), got.Result.Root); got.Result.Root != root || err != nil || !bytes.Equal(car, want) {
				t.Errorf("root %s, want %s; CAR of %d bytes, %v", got.Result.Root, root, len(car), err)
			}
			if again := s.scan(t, dir); again.Different() {
				t.Errorf("again: %+v", again.Report)
			}
		})
	}
}

// TestDiskLinks names sources that lead out of their root.
func TestDiskLinks(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	write(t, outside, map[string]string{"secret": "secret"})
	must(t, os.Symlink(outside, dir+"/link"))
	s := newSite(t, dir)
	for _, path := range []string{dir + "/link/secret", dir + "/../" + filepath.Base(outside), outside} {
		if got, err := s.tryScan(t.Context(), path); err == nil {
			t.Errorf("%s: scan gives %+v", path, got.Report)
		}
	}
	for _, path := range []string{dir + "/link", dir + "/link/secret", outside + "/secret", dir + "/../" + filepath.Base(outside) + "/secret"} {
		if obj, err := s.sources.GetIf(t.Context(), path, "", 0, -1); err == nil {
			t.Errorf("%s can be read: %+v", path, obj.Info())
		}
	}
}

// TestDiskChangeWhileServed changes a file while it is sent. What was sent is a
// beginning of what is right, and from then on it is gone.
func TestDiskChangeWhileServed(t *testing.T) {
	t.Parallel()
	content := randomText(rand.New(rand.NewPCG(3, 3)), 8<<20)
	for name, change := range map[string]func(path string) error{
		"truncated":   func(path string) error { return os.Truncate(path, 100) },
		"overwritten": func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", len(content))), 0o644) },
		"replaced": func(path string) error {
			return errors.Join(os.WriteFile(path+"2", []byte("x"), 0o644), os.Rename(path+"2", path))
		},
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
		"a pipe":      func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o644)) },
		"removed":     os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, map[string]string{"sub/file": content})
			path := filepath.Join(dir, "sub/file")
			s := newSite(t, dir)
			s.profile.ChunkSize, s.profile.Width = 1<<20, 20
			root := s.scan(t, dir).Result.Root
			file := s.scan(t, path).Result.Root
			want, err := s.car(t.Context(), root)
			must(t, err)

			var got bytes.Buffer
			body, err := newStreamer(s).streamer.Open(t.Context(), block.Selection{Root: root, Scope: block.ScopeAll})
			must(t, err)
			_, err = body.Send(t.Context(), &changing{&got, func() { must(t, change(path)) }})
			if !bytes.HasPrefix(want, got.Bytes()) || err == nil && got.Len() != len(want) {
				t.Errorf("%d bytes were sent, which are not right, %v", got.Len(), err)
			}
			if name != "removed" && name != "replaced" && name != "a directory" && name != "a pipe" && err == nil {
				t.Error("the change was not noticed") // the others leave the open file as it was
			}
			s.gone(t, "the file", file)
			if b, err := s.car(t.Context(), root); err == nil || !bytes.HasPrefix(want, b) {
				t.Errorf("the directory: %d bytes, %v", len(b), err)
			}
		})
	}
}

// changing calls f after the first MiB was written.
type changing struct {
	b *bytes.Buffer
	f func()
}

func (c *changing) Write(p []byte) (int, error) {
	n, err := c.b.Write(p)
	if c.f != nil && c.b.Len() > 1<<20 {
		c.f()
		c.f = nil
	}
	return n, err
}

// TestDiskChangeInScan changes files all the time while they are hashed. In the end, what
// is indexed is what is there, and every byte of it verifies.
func TestDiskChangeInScan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(2, 2))
	path := func(i int) string { return filepath.Join(dir, fmt.Sprint("f", i)) }
	stop, done := make(chan struct{}), make(chan struct{})
	write(t, dir, map[string]string{"f0": "first"})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			p := path(r.IntN(20))
			os.RemoveAll(p)
			switch r.IntN(6) {
			case 0:
				os.Mkdir(p, 0o755)
			case 1:
				syscall.Mkfifo(p, 0o644)
			case 2:
				os.Symlink("f1", p)
			default:
				os.WriteFile(p, []byte(randomText(r, r.IntN(20_000))), 0o644)
			}
		}
	}()
	s := newSite(t, dir)
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		got, err := s.tryScan(t.Context(), dir)
		if err == nil {
			s.car(t.Context(), got.Result.Root) // sends right bytes or fails, as every block is verified
		}
	}
	close(stop)
	<-done
	for i := range 20 { // what scans refuse
		if fi, err := os.Lstat(path(i)); err == nil && fi.Mode()&fs.ModeNamedPipe != 0 {
			must(t, os.Remove(path(i)))
		}
	}
	write(t, dir, map[string]string{"last": "last"})
	got := s.scan(t, dir)
	root, want := added(t, s.profile, dir)
	if car, err := newStreamer(s).car(t.Context(), root); got.Result.Root != root || err != nil || !bytes.Equal(car, want) {
		t.Errorf("root %s, want %s; CAR of %d bytes, %v", got.Result.Root, root, len(car), err)
	}
}

// TestDiskRootMissing opens sources whose root is not there yet.
func TestDiskRootMissing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "later")
	s := newSite(t, dir)
	if _, err := s.tryScan(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("scan of what is not there: %v", err)
	}
	write(t, dir, map[string]string{"a": "a"})
	root := s.scan(t, dir).Result.Root
	if _, err := s.car(t.Context(), root); err != nil {
		t.Error(err)
	}
	// It goes, as a disk does, and comes again with all that was on it.
	must(t, os.Rename(dir, dir+"2"))
	if _, err := s.tryScan(t.Context(), dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("scan of what went: %v", err)
	}
	must(t, os.Mkdir(dir, 0o755))
	if _, err := s.tryScan(t.Context(), dir); !errors.Is(err, origin.ErrEmptied) {
		t.Errorf("scan of an empty mount point: %v", err)
	}
	other := newSite(t, dir) // a node that starts while it is away
	other.keys, other.packs = s.keys, s.packs
	other = newStreamer(other)
	if b, err := other.car(t.Context(), root); err == nil {
		t.Errorf("away, %d bytes of it are sent", len(b))
	}
	must(t, os.Remove(dir))
	must(t, os.Rename(dir+"2", dir))
	if _, err := other.car(t.Context(), root); err != nil {
		t.Errorf("it came again, to a node that had not seen it: %v", err)
	}
	if got := s.scan(t, dir); got.Different() {
		t.Errorf("it came again: %+v", got.Report)
	}
	if _, err := newStreamer(s).car(t.Context(), root); err != nil {
		t.Errorf("it came again: %v", err)
	}
}

// TestDiskLargeDirectory scans a directory of very many files in bounded memory.
func TestDiskLargeDirectory(t *testing.T) {
	dir := t.TempDir()
	const files = largeDirectory
	for i := range files {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%06d", i)), nil, 0o644))
	}
	keys, err := pebblekv.Open(t.TempDir(), nil)
	must(t, err)
	t.Cleanup(func() { must(t, keys.Close()) })
	s := newSiteOn(t, keys, dir)
	s.profile, err = unixfs.ParseProfile(unixfs.V1)
	must(t, err)
	s.scan(t, dir)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if again := s.scan(t, dir); again.Unchanged != files {
		t.Errorf("again: %+v", again.Report)
	}
	runtime.ReadMemStats(&after)
	if used := (after.HeapSys - min(before.HeapSys, after.HeapSys)) >> 20; used > 256 {
		t.Errorf("a scan without a change took %d MiB", used)
	}
}
