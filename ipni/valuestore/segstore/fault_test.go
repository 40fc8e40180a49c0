package segstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/catalog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
)

// TestLock wants a directory to be open once, and by who knows it.
func TestLock(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, nil)
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), 1, numbered(1)); err == nil {
		t.Error("put into a closed store")
	}
	for _, o := range []*Options{{KeyBytes: 8}, {Partitions: 8}, {KeyBytes: 7}, {Partitions: 3}} {
		if _, err := Open(dir, o); err == nil {
			t.Errorf("opened with %+v", *o)
		}
	}
	manifest := filepath.Join(dir, catalog.Manifest)
	b, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", string(b[:len(b)-1]), strings.Replace(string(b), "values 2", "values 3", 1), strings.Replace(string(b), `"next"`, `"text"`, 1)} {
		if err := os.WriteFile(manifest, []byte(bad), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, nil); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("opened with the manifest %q: %v", bad, err)
		}
	}
}

// TestUnwritable moves the directory away, so that nothing can be created: puts fail in the end, nothing
// that was acknowledged is lost, reads go on, and so do puts when it is back.
func TestUnwritable(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	s := openStore(t, dir, small())
	defer s.Close()
	acked := 0
	put := func() error {
		err := s.Put(t.Context(), 1, numbered(acked))
		if err == nil {
			acked++
		}
		return err
	}
	for range 20 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	for put() == nil {
		if acked > 1000 {
			t.Fatal("everything can be written")
		}
	}
	for n := range acked {
		check(t, s, n, true)
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	until(t, s, "recovery", func(Stats) bool { return s.Err() == nil })
	for range 200 {
		if err := put(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, small())
	defer s.Close()
	for n := range acked {
		check(t, s, n, true)
	}
}

// TestReserve refuses writes when little is free, and reads on.
func TestReserve(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	if err := s.Put(t.Context(), 1, numbered(1)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = openStore(t, dir, &Options{Reserve: 1 << 60})
	defer s.Close()
	if err := s.Put(t.Context(), 1, numbered(2)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put: %v", err)
	}
	check(t, s, 1, true)
	check(t, s, 2, false)
}

// TestBrokenLog closes the log under the store: the put fails, the next begins a new log.
func TestBrokenLog(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	for n := range 3 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.log.Close(); err != nil { // no write is under way
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), 1, numbered(3)); err == nil {
		t.Fatal("a put without a log")
	}
	if err := s.Put(t.Context(), 1, numbered(4)); err != nil {
		t.Fatalf("the log stays broken: %v", err)
	}
	s.Close()
	s = openStore(t, dir, small())
	defer s.Close()
	for _, n := range []int{0, 1, 2, 4} {
		check(t, s, n, true)
	}
}

// TestCutLog cuts a log that is not the last: it was durable as a whole, so that is
// damage and no crash. So is its absence.
func TestCutLog(t *testing.T) {
	origin := t.TempDir()
	s := openStore(t, origin, nil)
	s.editing.Lock() // no log is deleted
	for n := range 6 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			if err := s.queue.Do(t.Context(), &oplog.Operation{Kind: oplog.Flush}); err != nil {
				t.Fatal(err)
			}
		}
	}
	dir, again := t.TempDir(), t.TempDir()
	for _, d := range []string{dir, again} {
		if err := os.CopyFS(d, os.DirFS(origin)); err != nil {
			t.Fatal(err)
		}
	}
	s.editing.Unlock()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, nil)
	for n := range 6 {
		check(t, s, n, true)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	first := files(t, again, "log")[0]
	whole, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first, whole[:len(whole)-4096], 0o644); err != nil {
		t.Fatal(err)
	}
	if len(files(t, again, "log")) != 2 {
		t.Fatal("there are not two logs")
	}
	if s, err := Open(again, nil); !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), filepath.Base(first)) {
		if err == nil {
			s.Close()
		}
		t.Errorf("opened with a log that is cut: %v", err)
	}
}
