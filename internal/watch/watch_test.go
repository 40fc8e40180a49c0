package watch_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hashstream/hashstream/internal/watch"
)

// TestChanges changes a directory in every way and expects to be told each time.
func TestChanges(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) error {
		return errors.Join(os.MkdirAll(filepath.Dir(path(name)), 0o755), os.WriteFile(path(name), []byte(content), 0o644))
	}
	must(t, write("sub/deep/file", "before"))
	next := start(t, &watch.Options{Quiet: time.Millisecond, Interval: time.Hour}, dir)
	for _, c := range []struct {
		name   string
		change func() error
	}{
		{"a file is written in place", func() error { return write("sub/deep/file", "after") }},
		{"a file appears", func() error { return write("sub/other", "new") }},
		{"a file is renamed", func() error { return os.Rename(path("sub/other"), path("sub/renamed")) }},
		{"a file goes", func() error { return os.Remove(path("sub/renamed")) }},
		{"the time of a file changes", func() error {
			return os.Chtimes(path("sub/deep/file"), time.Unix(1e9, 0), time.Unix(1e9, 0))
		}},
		{"directories appear", func() error { return os.MkdirAll(path("x/y/z"), 0o755) }},
		{"a file in a directory that appeared", func() error { return write("x/y/z/file", "new") }},
		{"a directory moves", func() error { return os.Rename(path("x/y"), path("moved")) }},
		{"a file in a directory that moved", func() error { return write("moved/z/file", "again") }},
		{"a directory comes from outside", func() error { return os.Rename(tree(t, "in/side"), path("sub/came")) }},
		{"a file in a directory that came", func() error { return write("sub/came/in/more", "") }},
		{"a directory goes", func() error { return os.RemoveAll(path("moved")) }},
	} {
		must(t, c.change())
		if got := next(); got != dir {
			t.Fatalf("%s: told %q", c.name, got)
		}
		settle(next)
	}
}

// tree returns a directory with a file in it, that is not watched.
func tree(t *testing.T, file string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, file), nil, 0o644))
	return dir
}

// TestFile watches one file, which is replaced by another of its name, and not the
// others beside it.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	must(t, os.WriteFile(one, nil, 0o644))
	next := start(t, &watch.Options{Quiet: time.Millisecond, Interval: time.Hour}, one)
	must(t, os.WriteFile(other, nil, 0o644))
	must(t, os.WriteFile(one+"2", nil, 0o644))
	if got := next(50 * time.Millisecond); got != "" {
		t.Errorf("told %q of other files", got)
	}
	must(t, os.Rename(other, one))
	if got := next(); got != one {
		t.Errorf("told %q", got)
	}
}

// TestSeveral tells which of several directories changed, once for many changes.
func TestSeveral(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	next := start(t, &watch.Options{Quiet: 100 * time.Millisecond, Interval: time.Hour}, a, b)
	for i := range 50 {
		must(t, os.WriteFile(filepath.Join(b, fmt.Sprint(i)), nil, 0o644))
	}
	if got := next(); got != b {
		t.Errorf("told %q", got)
	}
	if got := next(50 * time.Millisecond); got != "" {
		t.Errorf("told %q again", got)
	}
}

// TestNeverQuiet changes a directory all the time, and expects to be told nevertheless.
func TestNeverQuiet(t *testing.T) {
	dir := t.TempDir()
	next := start(t, &watch.Options{Quiet: time.Hour, Latest: 20 * time.Millisecond, Interval: time.Hour}, dir)
	must(t, os.WriteFile(filepath.Join(dir, "x"), nil, 0o644))
	if got := next(); got != dir {
		t.Errorf("told %q", got)
	}
}

// TestInterval looks at what the system tells nothing of: buckets, and what is not there.
func TestInterval(t *testing.T) {
	dir := t.TempDir()
	absent := filepath.Join(dir, "absent")
	w, err := watch.New(&watch.Options{Interval: 20 * time.Millisecond, Quiet: time.Millisecond})
	must(t, err)
	defer w.Close()
	must(t, w.Add("s3://bucket/prefix"))
	if err := w.Add(absent); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	var told []string
	for name := range w.Changes(t.Context()) {
		if told = append(told, name); len(told) == 4 {
			break
		}
	}
	if want := []string{"s3://bucket/prefix", absent, "s3://bucket/prefix", absent}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestCameAgain removes a directory and makes it anew: after the next look it is watched
// again.
func TestCameAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	must(t, os.Mkdir(dir, 0o755))
	const interval = 300 * time.Millisecond
	next := start(t, &watch.Options{Quiet: time.Millisecond, Interval: interval}, dir)
	must(t, os.Remove(dir))
	must(t, os.Mkdir(dir, 0o755))
	for range 2 { // of its end, and by interval
		next()
	}
	// The interval alone would tell of every fifth change at most.
	inTime := 0
	for i := range 100 {
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), nil, 0o644))
		if inTime++; next(interval/5) == "" {
			inTime = 0
		}
		if inTime == 4 {
			return
		}
		settle(next)
	}
	t.Error("it is not watched any more")
}

// start watches names, and returns a function that waits for the next change: a minute, or
// as long as it is told; then it returns "".
func start(t *testing.T, o *watch.Options, names ...string) func(...time.Duration) string {
	t.Helper()
	w, err := watch.New(o)
	must(t, err)
	for _, name := range names {
		must(t, w.Add(name))
	}
	ctx, cancel := context.WithCancel(context.Background())
	told, done := make(chan string), make(chan struct{})
	go func() {
		defer close(done)
		send(ctx, told, w.Changes(ctx))
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		must(t, w.Close())
	})
	return func(d ...time.Duration) string {
		select {
		case name := <-told:
			return name
		case <-time.After(append(d, time.Minute)[0]):
			return ""
		}
	}
}

func send(ctx context.Context, to chan<- string, names iter.Seq[string]) {
	for name := range names {
		select {
		case to <- name:
		case <-ctx.Done():
			return
		}
	}
}

// settle waits until the changes that one step made are all told.
func settle(next func(...time.Duration) string) {
	for next(20*time.Millisecond) != "" {
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
