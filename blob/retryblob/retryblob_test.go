package retryblob_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/blobtest"
	"github.com/hashstream/hashstream/blob/fsblob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/blob/retryblob"
)

var errFlaky = errors.New("flaky")

// flaky fails each call as often as fail says, and breaks each body after cut bytes.
type flaky struct {
	blob.Store
	fail  int
	err   error
	cut   int64 // 0: never
	calls map[string]int
	swap  func() // called before a body is opened again
}

func (f *flaky) failed(call string) error {
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	if f.calls[call]++; f.calls[call] <= f.fail {
		return f.err
	}
	return nil
}

func (f *flaky) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	if err := f.failed("get"); err != nil {
		return nil, err
	}
	if f.swap != nil && f.calls["get"] > 1 {
		f.swap()
	}
	o, err := f.Store.Get(ctx, key, off, n)
	if err != nil || f.cut == 0 {
		return o, err
	}
	return cutObject{o, io.MultiReader(io.LimitReader(o, f.cut), iotest.ErrReader(f.err))}, nil
}

// cutObject is no io.WriterTo.
type cutObject struct {
	blob.Object
	r io.Reader
}

func (c cutObject) Read(p []byte) (int, error) { return c.r.Read(p) }

func (f *flaky) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := f.failed("stat"); err != nil {
		return blob.Info{}, err
	}
	return f.Store.Stat(ctx, key)
}

func (f *flaky) Put(ctx context.Context, key string, r io.Reader) error {
	if err := f.failed("put"); err != nil {
		io.CopyN(io.Discard, r, 3)
		return err
	}
	return f.Store.Put(ctx, key, r)
}

func (f *flaky) Delete(ctx context.Context, key string) error {
	if err := f.failed("delete"); err != nil {
		return err
	}
	return f.Store.Delete(ctx, key)
}

func (f *flaky) List(ctx context.Context, prefix string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		err := f.failed("list")
		n := 0
		for i, e := range f.Store.List(ctx, prefix) {
			if n++; n > 2*f.calls["list"] && err != nil {
				yield(blob.Info{}, err)
				return
			}
			if !yield(i, e) {
				return
			}
		}
	}
}

func TestSuite(t *testing.T) {
	t.Run("memblob", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Store { return retryblob.New(memblob.New(), nil) })
	})
	t.Run("fsblob", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Store {
			s, err := fsblob.Open(t.TempDir(), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return retryblob.New(s, nil)
		})
	})
	t.Run("flaky", func(t *testing.T) { // each body breaks off all the time
		blobtest.RunGetter(t, func(t *testing.T, objects map[string][]byte) blob.Getter {
			m := memblob.New()
			for k, b := range objects {
				if err := m.Put(t.Context(), k, bytes.NewReader(b)); err != nil {
					t.Fatal(err)
				}
			}
			return retryblob.New(breaking{m}, &retryblob.Options{Attempts: 100, Backoff: time.Nanosecond})
		})
	})
}

// breaking breaks bodies after 100 KiB.
type breaking struct{ blob.Store }

func (b breaking) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	o, err := b.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	return cutObject{o, io.LimitReader(o, 100<<10)}, nil
}

func TestForwards(t *testing.T) {
	if _, ok := retryblob.New(memblob.New(), nil).(blob.Drafter); !ok {
		t.Error("the drafter is lost")
	}
	if _, ok := retryblob.New(&flaky{Store: memblob.New()}, nil).(blob.Drafter); ok {
		t.Error("a drafter comes out of nothing")
	}
}

// read reads all of k.
func read(ctx context.Context, s blob.Getter) ([]byte, error) {
	o, err := s.Get(ctx, "k", 0, -1)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}

func calls(t *testing.T, s blob.Store) map[string]func() error {
	return map[string]func() error{
		"get":    func() error { _, err := read(t.Context(), s); return err },
		"stat":   func() error { _, err := s.Stat(t.Context(), "k"); return err },
		"put":    func() error { return s.Put(t.Context(), "k", strings.NewReader("0123456789")) },
		"delete": func() error { return s.Delete(t.Context(), "absent") },
		"list": func() error {
			var keys []string
			for i, err := range s.List(t.Context(), "") {
				if err != nil {
					return err
				}
				keys = append(keys, i.Key)
			}
			if len(keys) != 11 || !slices.IsSorted(keys) {
				t.Errorf("listed %q", keys)
			}
			return nil
		},
	}
}

func store(t *testing.T) *memblob.Store {
	m := memblob.New()
	for i := range 10 {
		if err := m.Put(t.Context(), fmt.Sprint("x", i), strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Put(t.Context(), "k", strings.NewReader("0123456789")); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRepeat(t *testing.T) {
	for err, passes := range map[error]bool{
		errFlaky: true, io.ErrUnexpectedEOF: true, syscall.ECONNRESET: true,
		fs.ErrNotExist: false, fs.ErrPermission: false, blob.ErrChanged: false, blob.ErrRange: false, syscall.ENOSPC: false, context.Canceled: false,
	} {
		for _, name := range []string{"get", "stat", "put", "delete", "list"} {
			for fail, ok := range map[int]bool{0: true, 2: passes, 5: false} {
				f := &flaky{Store: store(t), fail: fail, err: fmt.Errorf("wrapped: %w", err)}
				traced := 0
				s := retryblob.New(f, &retryblob.Options{Backoff: time.Nanosecond, Trace: func(context.Context, string, string, error) { traced++ }})
				got := calls(t, s)[name]()
				want := 1 + fail
				if !passes {
					want = 1
				}
				if n := f.calls[name]; (got == nil) != ok || got != nil && !errors.Is(got, err) || n != min(want, 5) || traced != n-1 {
					t.Errorf("%s, %d × %v: %v after %d calls, %d traced", name, fail, err, got, n, traced)
				}
			}
		}
	}
}

func TestPutOnce(t *testing.T) {
	f := &flaky{Store: memblob.New(), fail: 1, err: errFlaky}
	s := retryblob.New(f, &retryblob.Options{Backoff: time.Nanosecond})
	if err := s.Put(t.Context(), "k", io.LimitReader(strings.NewReader("0123456789"), 10)); !errors.Is(err, errFlaky) || f.calls["put"] != 1 {
		t.Errorf("Put of a stream: %v after %d calls", err, f.calls["put"])
	}
	f.calls = nil
	r := strings.NewReader("head0123456789")
	io.CopyN(io.Discard, r, 4)
	if err := s.Put(t.Context(), "k", r); err != nil {
		t.Fatal(err)
	}
	if b, err := read(t.Context(), s); string(b) != "0123456789" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestResume(t *testing.T) {
	for cut, ok := range map[int64]bool{3: true, 1: false} { // the attempts suffice for 12 and for 4 bytes
		f := &flaky{Store: store(t), err: errFlaky, cut: cut}
		b, err := read(t.Context(), retryblob.New(f, &retryblob.Options{Attempts: 4, Backoff: time.Nanosecond}))
		if ok && (string(b) != "0123456789" || err != nil) || !ok && (!errors.Is(err, errFlaky) || string(b) != "0123") {
			t.Errorf("cut %d: %q, %v", cut, b, err)
		}
	}
}

func TestReplaced(t *testing.T) {
	m := store(t)
	f := &flaky{Store: m, err: errFlaky, cut: 3, swap: func() { m.Put(t.Context(), "k", strings.NewReader("abcdefghij")) }}
	b, err := read(t.Context(), retryblob.New(f, &retryblob.Options{Backoff: time.Nanosecond}))
	if !errors.Is(err, blob.ErrChanged) || string(b) != "012" {
		t.Errorf("%q, %v", b, err)
	}
}

// identified is a store that identifies its objects.
type identified struct{ blob.Store }

func (s identified) Stat(ctx context.Context, key string) (blob.Info, error) {
	i, err := s.Store.Stat(ctx, key)
	i.Identity = i.Version
	return i, err
}

func (s identified) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	o, err := s.Store.Get(ctx, key, off, n)
	if err != nil {
		return nil, err
	}
	return identifiedObject{o}, nil
}

type identifiedObject struct{ blob.Object }

func (o identifiedObject) Info() blob.Info {
	i := o.Object.Info()
	i.Identity = i.Version
	return i
}

// conditional compares by itself.
type conditional struct{ identified }

func (c conditional) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	o, err := c.Get(ctx, key, off, n)
	if err == nil && o.Info().Identity != identity {
		return nil, blob.ErrChanged
	}
	return o, err
}

func TestGetIf(t *testing.T) {
	s := identified{memblob.New()}
	for name, r := range map[string]blob.Store{"conditional": retryblob.New(conditional{s}, nil), "without": retryblob.New(s, nil)} {
		if err := r.Put(t.Context(), "k", strings.NewReader("0123456789")); err != nil {
			t.Fatal(err)
		}
		i, err := r.Stat(t.Context(), "k")
		if err != nil || i.Identity == "" {
			t.Fatalf("%s: %+v, %v", name, i, err)
		}
		c := r.(blob.Conditional)
		o, err := c.GetIf(t.Context(), "k", i.Identity, 1, 2)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := io.ReadAll(o); string(b) != "12" || err != nil {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		o.Close()
		for id, want := range map[string]error{"other": blob.ErrChanged, "": fs.ErrInvalid} {
			if _, err := c.GetIf(t.Context(), "k", id, 0, -1); !errors.Is(err, want) {
				t.Errorf("%s: GetIf(%q): %v", name, id, err)
			}
		}
	}
}

// TestPauses: they grow, are random, and end with the context. Time is not real.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flaky{Store: memblob.New(), fail: 100, err: errFlaky}
		s := retryblob.New(f, nil)
		start := time.Now()
		if _, err := s.Stat(t.Context(), "k"); !errors.Is(err, errFlaky) {
			t.Error(err)
		}
		if d := time.Since(start); d < 750*time.Millisecond || d > 2250*time.Millisecond || d%(100*time.Millisecond) == 0 {
			t.Errorf("paused %v in all", d) // 100 + 200 + 400 + 800 ms ± 50 %
		}
		gone := errors.New("gone")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(gone) })
		start = time.Now()
		if _, err := s.Stat(ctx, "k"); !errors.Is(err, gone) || time.Since(start) != 20*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}
