package cacheblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/cacheblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
)

const pageSize = 64 << 10

// slow is a store that identifies its objects, counts what it is asked for, and may wait.
type slow struct {
	*memblob.Store
	gets, stats atomic.Int64
	bytes       atomic.Int64
	wait        func()
	cut         int64 // bodies break after so many bytes, 0: never
}

func newSlow() *slow { return &slow{Store: memblob.New()} }

func (s *slow) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	s.gets.Add(1)
	if s.wait != nil {
		s.wait()
	}
	o, err := s.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	var r io.Reader = o
	if s.cut > 0 {
		r = io.LimitReader(o, s.cut)
	}
	return &slowObject{o, r, s}, nil
}

type slowObject struct {
	blob.Object
	r io.Reader
	s *slow
}

func (o *slowObject) Info() blob.Info { return identify(o.Object.Info()) }

func (o *slowObject) Read(p []byte) (int, error) {
	n, err := o.r.Read(p)
	o.s.bytes.Add(int64(n))
	return n, err
}

func identify(i blob.Info) blob.Info {
	i.Identity = i.Version
	return i
}

func (s *slow) Stat(ctx context.Context, key string) (blob.Info, error) {
	s.stats.Add(1)
	i, err := s.Store.Stat(ctx, key)
	if err != nil {
		return i, err
	}
	return identify(i), nil
}

func (s *slow) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for i, err := range s.Store.List(ctx, prefix) {
			if !yield(identify(i), err) {
				return
			}
		}
	}
}

func (s *slow) reset() { s.gets.Store(0); s.stats.Store(0); s.bytes.Store(0) }

// trace collects what a cache tells.
type trace struct {
	hits, misses atomic.Int64
	mu           sync.Mutex
	errs         []error
}

func (tr *trace) hooks() *cacheblob.Trace {
	return &cacheblob.Trace{
		Page: func(_ context.Context, hit bool, n int) {
			if hit {
				tr.hits.Add(1)
			} else {
				tr.misses.Add(1)
			}
		},
		Error: func(_ context.Context, err error) {
			tr.mu.Lock()
			defer tr.mu.Unlock()
			tr.errs = append(tr.errs, err)
		},
	}
}

func (tr *trace) errors() []error {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.errs
}

func open(t testing.TB, dir string, o cacheblob.Options) *cacheblob.Cache {
	t.Helper()
	if o.PageSize == 0 {
		o.PageSize = pageSize
	}
	c, err := cacheblob.Open(dir, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestSuite(t *testing.T) {
	t.Run("mutable", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Store {
			// What is put again and again lies in one page: between two, a change would show.
			return open(t, t.TempDir(), cacheblob.Options{PageSize: 4 * pageSize}).Wrap("s", newSlow(), nil)
		})
	})
	t.Run("anonymous", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Store {
			return open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", memblob.New(), nil)
		})
	})
	for name, size := range map[string]int64{"immutable": 0, "small": 3 * pageSize} {
		t.Run(name, func(t *testing.T) {
			blobtest.RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
				s := open(t, t.TempDir(), cacheblob.Options{Size: size}).Wrap("s", memblob.New(), &cacheblob.WrapOptions{Immutable: true})
				for k, b := range objects {
					put(t, s, k, b)
				}
				return s
			})
		})
	}
}

func put(t testing.TB, s blob.Putter, key string, b []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
}

func random(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
	return b
}

func read(s blob.Getter, key string, off, n int64) ([]byte, error) {
	o, err := s.Get(context.Background(), key, off, n)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(struct{ io.Reader }{o})
}

// check reads a range and compares it.
func check(t testing.TB, s blob.Getter, key string, want []byte, off, n int64) {
	t.Helper()
	got, err := read(s, key, off, n)
	if err != nil || !bytes.Equal(got, want[off:min(off+n, int64(len(want)))]) {
		t.Errorf("%s at %d+%d: %d bytes, %v", key, off, n, len(got), err)
	}
}

// TestRequests: a page is fetched once, runs of pages by one request, and none when all is
// there; only mutable objects are asked for.
func TestRequests(t *testing.T) {
	b := random(10*pageSize+100, 1)
	for immutable, stats := range map[bool]int64{true: 0, false: 1} {
		in := newSlow()
		tr := &trace{}
		s := open(t, t.TempDir(), cacheblob.Options{Trace: tr.hooks()}).Wrap("s", in, &cacheblob.WrapOptions{Immutable: immutable})
		put(t, in, "k", b)
		for _, c := range []struct{ off, n, gets, stats, pages int64 }{
			{0, int64(len(b)), 1, 0, 11},
			{0, int64(len(b)), 0, stats, 0},
			{5 * pageSize, 7, 0, stats, 0},
		} {
			in.reset()
			check(t, s, "k", b, c.off, c.n)
			if g, st, p := in.gets.Load(), in.stats.Load(), (in.bytes.Load()+pageSize-1)/pageSize; g != c.gets || st != c.stats || p != c.pages {
				t.Errorf("immutable %v, %d+%d: %d gets, %d stats, %d pages, want %+v", immutable, c.off, c.n, g, st, p, c)
			}
		}
		put(t, in, "other", b)
		for _, c := range []struct{ off, n, gets, pages int64 }{
			{3*pageSize + 5, 10, 1, 1},
			{6 * pageSize, pageSize + 1, 1, 2},
			{0, int64(len(b)), 3, 8}, // 0–2, 4–5 and 8–10
		} {
			in.reset()
			check(t, s, "other", b, c.off, c.n)
			if g, p := in.gets.Load(), (in.bytes.Load()+pageSize-1)/pageSize; g != c.gets || p != c.pages {
				t.Errorf("immutable %v, %d+%d: %d gets, %d pages, want %+v", immutable, c.off, c.n, g, p, c)
			}
		}
		if len(tr.errors()) != 0 || tr.misses.Load() != 22 {
			t.Errorf("%d misses, %v", tr.misses.Load(), tr.errors())
		}
	}
}

// TestSingleFlight: many readers of one object cost one fetch.
func TestSingleFlight(t *testing.T) {
	in := newSlow()
	arrived := make(chan struct{})
	var once sync.Once
	in.wait = func() { once.Do(func() { <-arrived }) }
	s := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", in, &cacheblob.WrapOptions{Immutable: true})
	b := random(pageSize, 2)
	put(t, in, "k", b)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() { check(t, s, "k", b, 0, pageSize) })
	}
	for in.gets.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(arrived)
	wg.Wait()
	if n := in.gets.Load(); n != 1 {
		t.Errorf("%d fetches", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	put(t, in, "l", b)
	block := make(chan struct{})
	in.wait = func() { <-block }
	wg.Go(func() { check(t, s, "l", b, 0, pageSize) })
	for in.gets.Load() == 1 {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Get(ctx, "l", 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("who waits goes on waiting: %v", err)
	}
	close(block)
	wg.Wait()
}

// TestLeaderFails: a fetch that breaks off is no failure of those who wait for it.
func TestLeaderFails(t *testing.T) {
	in := newSlow()
	in.cut = 100
	s := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", in, nil)
	b := random(2*pageSize, 3)
	put(t, in, "k", b)
	if _, err := read(s, "k", 0, -1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("broken body: %v", err)
	}
	in.cut = 0
	check(t, s, "k", b, 0, 2*pageSize)
}

// TestRestart: what was kept is there again, of the same name and page size alone.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	in := newSlow()
	b := random(5*pageSize, 4)
	put(t, in, "k", b)
	for i, gets := range []int64{1, 0, 0} {
		c := open(t, dir, cacheblob.Options{})
		in.reset()
		check(t, c.Wrap("s", in, nil), "k", b, 0, 5*pageSize)
		if n := in.gets.Load(); n != gets {
			t.Errorf("start %d: %d fetches", i, n)
		}
		if _, err := cacheblob.Open(dir, nil); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("the cache was opened twice: %v", err)
		}
		if size := c.Size(); size < 5*pageSize || size > 6*pageSize {
			t.Errorf("size %d", size)
		}
		if i == 2 {
			in.reset()
			check(t, c.Wrap("other", in, nil), "k", b, 0, 5*pageSize)
			if in.gets.Load() != 1 {
				t.Error("stores are mixed up")
			}
		}
		c.Close()
	}
	in.reset()
	check(t, open(t, dir, cacheblob.Options{PageSize: 2 * pageSize}).Wrap("s", in, nil), "k", b, 0, 5*pageSize)
	if in.gets.Load() != 1 {
		t.Error("page sizes are mixed up")
	}
}

// files are the pages on disk.
func files(t testing.TB, dir string) (paths []string, size int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		fi, err := d.Info()
		size += fi.Size()
		paths = append(paths, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths, size
}

// TestDamage: whatever stands in a file, the bytes are right.
func TestDamage(t *testing.T) {
	b := random(3*pageSize, 5)
	for name, damage := range map[string]func(p string, content []byte) error{
		"flipped in the page":   func(p string, c []byte) error { c[len(c)-100] ^= 1; return os.WriteFile(p, c, 0o600) },
		"flipped in the header": func(p string, c []byte) error { c[30] ^= 1; return os.WriteFile(p, c, 0o600) },
		"cut":                   func(p string, c []byte) error { return os.Truncate(p, int64(len(c))-1) },
		"empty":                 func(p string, c []byte) error { return os.Truncate(p, 0) },
		"longer":                func(p string, c []byte) error { return os.WriteFile(p, append(c, 0), 0o600) },
		"a length beyond":       func(p string, c []byte) error { c[8] = 0xff; return os.WriteFile(p, c, 0o600) },
		"removed":               func(p string, c []byte) error { return os.Remove(p) },
		"a directory": func(p string, c []byte) error {
			return errors.Join(os.Remove(p), os.Mkdir(p, 0o700))
		},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(name, restart), func(t *testing.T) {
				dir := t.TempDir()
				in := newSlow()
				put(t, in, "k", b)
				tr := &trace{}
				c := open(t, dir, cacheblob.Options{Trace: tr.hooks()})
				s := c.Wrap("s", in, &cacheblob.WrapOptions{Immutable: true})
				check(t, s, "k", b, 0, 3*pageSize)
				if restart {
					c.Close()
				}
				paths, _ := files(t, dir)
				for _, p := range paths {
					content, err := os.ReadFile(p)
					if err != nil {
						t.Fatal(err)
					}
					if err := damage(p, content); err != nil {
						t.Fatal(err)
					}
					later := time.Now().Add(time.Minute)
					os.Chtimes(p, later, later)
				}
				if restart {
					s = open(t, dir, cacheblob.Options{Trace: tr.hooks()}).Wrap("s", in, &cacheblob.WrapOptions{Immutable: true})
				}
				in.reset()
				for range 2 {
					check(t, s, "k", b, 0, 3*pageSize)
				}
				if n := in.bytes.Load(); n != 3*pageSize && name != "a directory" {
					t.Errorf("%d bytes were fetched again", n)
				}
				if n := len(tr.errors()); n == 0 && name != "removed" && name != "a directory" {
					t.Error("nobody was told")
				}
				for _, err := range tr.errors() {
					if name == "flipped in the page" && !errors.Is(err, digest.ErrMismatch) {
						t.Errorf("told %v", err)
					}
				}
			})
		}
	}
}

// TestSwapped: a whole page under the name of another is not served.
func TestSwapped(t *testing.T) {
	dir := t.TempDir()
	in := newSlow()
	b := random(2*pageSize, 6)
	put(t, in, "k", b)
	c := open(t, dir, cacheblob.Options{})
	check(t, c.Wrap("s", in, nil), "k", b, 0, 2*pageSize)
	c.Close()
	paths, _ := files(t, dir)
	if len(paths) != 2 {
		t.Fatal(paths)
	}
	if err := errors.Join(os.Rename(paths[0], paths[0]+"x"), os.Rename(paths[1], paths[0]), os.Rename(paths[0]+"x", paths[1])); err != nil {
		t.Fatal(err)
	}
	check(t, open(t, dir, cacheblob.Options{}).Wrap("s", in, &cacheblob.WrapOptions{Immutable: true}), "k", b, 0, 2*pageSize)
}

// TestBound: the files take no more than the cache may.
func TestBound(t *testing.T) {
	dir := t.TempDir()
	in := newSlow()
	const limit = 20 * pageSize
	c := open(t, dir, cacheblob.Options{Size: limit})
	s := c.Wrap("s", in, nil)
	var wg sync.WaitGroup
	for w := range 4 {
		b := random(50*pageSize, uint64(w))
		key := fmt.Sprint("k", w)
		put(t, in, key, b)
		wg.Go(func() {
			for range 3 {
				check(t, s, key, b, 0, int64(len(b)))
				check(t, s, key, b, 10*pageSize, 3*pageSize)
			}
		})
	}
	wg.Wait()
	if _, size := files(t, dir); size > limit || c.Size() > limit || c.Size() < limit/2 {
		t.Errorf("%d bytes on disk, the cache says %d, at most %d are allowed", size, c.Size(), limit)
	}
	c.Close()
	open(t, dir, cacheblob.Options{Size: 5 * pageSize})
	if _, size := files(t, dir); size > 5*pageSize {
		t.Errorf("%d bytes after a start with less room", size)
	}
}

// TestBoundOfMany: the files take no more than the cache may when the last of many that
// write at once has returned.
func TestBoundOfMany(t *testing.T) {
	dir := t.TempDir()
	in := newSlow()
	const small, pages = 1 << 10, 16
	c := open(t, dir, cacheblob.Options{Size: pages * (4096 + 64), PageSize: small}) // a block on disk and the name
	s := c.Wrap("s", in, &cacheblob.WrapOptions{Immutable: true})
	b := random(small, 1)
	for round := range 200 {
		var wg sync.WaitGroup
		for w := range 8 {
			key := fmt.Sprint(round, w)
			put(t, in, key, b)
			wg.Go(func() { check(t, s, key, b, 0, small) })
		}
		wg.Wait()
		if paths, _ := files(t, dir); len(paths) > pages || round > pages && len(paths) < pages/2 {
			t.Fatalf("%d files after round %d, at most %d are allowed", len(paths), round, pages)
		}
	}
}

// TestChanged: the new content, or an error; never both.
func TestChanged(t *testing.T) {
	in := newSlow()
	s := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", in, nil)
	old, other := random(3*pageSize, 7), random(3*pageSize, 8)
	put(t, in, "k", old)
	before, err := s.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	check(t, s, "k", old, 0, pageSize) // the first page alone
	o, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	put(t, in, "k", other)
	got, err := io.ReadAll(struct{ io.Reader }{o})
	if !errors.Is(err, blob.ErrChanged) || !bytes.Equal(got, old[:pageSize]) {
		t.Errorf("changed in mid-read: %d bytes, %v", len(got), err)
	}
	c := s.(blob.Conditional)
	for range 2 {
		check(t, s, "k", other, 0, 3*pageSize)
		if _, err := c.GetIf(t.Context(), "k", before.Identity, 0, 1); !errors.Is(err, blob.ErrChanged) {
			t.Errorf("GetIf of what was: %v", err)
		}
	}
	now, err := s.Stat(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	in.reset()
	o, err = c.GetIf(t.Context(), "k", now.Identity, 5, 5)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(o); err != nil || !bytes.Equal(b, other[5:10]) || in.gets.Load() != 0 {
		t.Errorf("GetIf: %d bytes, %v", len(b), err)
	}
	o.Close()
	put(t, in, "k", old) // whole pages of what was are on disk now
	check(t, s, "k", old, 0, 3*pageSize)
	if err := in.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
	if _, err := c.GetIf(t.Context(), "k", "", 0, 1); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("no identity: %v", err)
	}
}

// TestImmutable: deletes and puts through the cache are seen, and contents never mix.
func TestImmutable(t *testing.T) {
	in := newSlow()
	s := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", in, &cacheblob.WrapOptions{Immutable: true})
	b := random(3*pageSize, 9)
	put(t, s, "k", b)
	check(t, s, "k", b, 0, 3*pageSize)
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "k", 0, 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleted: %v", err)
	}
	put(t, s, "k", b)
	check(t, s, "k", b, 0, 1)
	put(t, in, "k", b) // the same content as a new object, as a node that adds it again would
	if got, err := read(s, "k", 0, -1); !errors.Is(err, blob.ErrChanged) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	check(t, s, "k", b, 0, 3*pageSize) // and it is not stuck there
}

// TestWriteTo: what is on disk goes out as files.
func TestWriteTo(t *testing.T) {
	in := newSlow()
	s := open(t, t.TempDir(), cacheblob.Options{}).Wrap("s", in, nil)
	b := random(3*pageSize+10, 10)
	put(t, in, "k", b)
	o, err := s.Get(t.Context(), "k", 5, -1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := o.(io.WriterTo); ok {
		t.Error("an object that must be fetched calls itself cheap to send")
	}
	io.Copy(io.Discard, o)
	o.Close()
	if o, err = s.Get(t.Context(), "k", 5, -1); err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	w := &sendfile{}
	n, err := o.(io.WriterTo).WriteTo(w)
	if n != int64(len(b)-5) || err != nil || !bytes.Equal(w.b.Bytes(), b[5:]) || w.files != 4 {
		t.Errorf("%d bytes, %v, %d files", n, err, w.files)
	}
}

// sendfile is what a connection is to an object.
type sendfile struct {
	b     bytes.Buffer
	files int
}

func (s *sendfile) Write(p []byte) (int, error) { return s.b.Write(p) }

func (s *sendfile) ReadFrom(r io.Reader) (int64, error) {
	if l, ok := r.(*io.LimitedReader); ok {
		if _, ok := l.R.(*os.File); ok {
			s.files++
		}
	}
	return s.b.ReadFrom(r)
}

// TestLost: a page that goes while an object is open is fetched again.
func TestLost(t *testing.T) {
	dir := t.TempDir()
	in := newSlow()
	s := open(t, dir, cacheblob.Options{}).Wrap("s", in, nil)
	b := random(3*pageSize, 11)
	put(t, in, "k", b)
	for _, writeTo := range []bool{false, true} {
		check(t, s, "k", b, 0, 3*pageSize)
		o, err := s.Get(t.Context(), "k", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		paths, _ := files(t, dir)
		for _, p := range paths {
			if err := os.Truncate(p, 1000); err != nil {
				t.Fatal(err)
			}
		}
		var got bytes.Buffer
		if writeTo {
			_, err = o.(io.WriterTo).WriteTo(&got)
		} else {
			_, err = io.Copy(&got, struct{ io.Reader }{o})
		}
		if o.Close(); err != nil || !bytes.Equal(got.Bytes(), b) {
			t.Errorf("writeTo %v: %d bytes, %v", writeTo, got.Len(), err)
		}
	}
}

// TestFullDisk: the reads go on, and somebody is told.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("mount a small tmpfs: %v", err)
		}
		t.Skipf("mount a small tmpfs: %v; run as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	in := newSlow()
	tr := &trace{}
	s := open(t, dir, cacheblob.Options{Trace: tr.hooks()}).Wrap("s", in, nil)
	b := random(40*pageSize, 12)
	put(t, in, "k", b)
	for range 3 {
		check(t, s, "k", b, 0, int64(len(b)))
	}
	errs := tr.errors()
	if len(errs) != 1 || !errors.Is(errs[0], syscall.ENOSPC) {
		t.Errorf("told %v, want one error of a full disk", errs)
	}
	if tr.hits.Load() == 0 {
		t.Error("what fits was not kept")
	}
	paths, _ := files(t, dir)
	for _, p := range paths {
		if strings.HasPrefix(filepath.Base(p), "tmp-") {
			t.Errorf("%s stayed behind", p)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dir string
		o   *cacheblob.Options
	}{
		{filepath.Join(dir, "file"), nil}, {dir, &cacheblob.Options{PageSize: 1 << 30}}, {dir, &cacheblob.Options{Size: 1000}},
	} {
		if c, err := cacheblob.Open(c.dir, c.o); err == nil {
			c.Close()
			t.Errorf("Open: %v", c)
		}
	}
	for _, name := range []string{"tmp-x", "others", "aa"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, cacheblob.Options{})
	if paths, _ := files(t, dir); len(paths) != 3 {
		t.Errorf("left: %q, want all but the temporary file", paths)
	}
}
