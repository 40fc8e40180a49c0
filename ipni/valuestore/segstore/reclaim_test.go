package segstore

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
)

// tagged puts n records of a tag.
func tagged(t *testing.T, s *Store, tag valuestore.Tag, from, n int) {
	t.Helper()
	var records valuestore.Records
	for i := range n {
		records = records.Append(valuestoretest.Key(from+i), make([]byte, 100))
	}
	if err := s.Put(t.Context(), tag, records); err != nil {
		t.Fatal(err)
	}
}

// until waits for the store to change until f is true.
func until(t *testing.T, s *Store, what string, f func(Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if f(s.Stats()) {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%s does not happen: %+v", what, s.Stats())
		}
	}
}

// TestReclaim removes tags and waits: their space comes back without anything else being
// done, and the store forgets them.
func TestReclaim(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	for tag := range valuestore.Tag(8) {
		tagged(t, s, tag+1, int(tag)*1000, 1000)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := s.Stats()
	if before.Records != 8000 {
		t.Fatalf("%+v", before)
	}
	if err := s.Remove(t.Context(), 1, 2, 3, 4, 5, 99); err != nil {
		t.Fatal(err)
	}
	until(t, s, "reclaiming", func(st Stats) bool { return st.Records == 3000 })
	if after := s.Stats(); after.Bytes > before.Bytes/2 {
		t.Errorf("%d bytes are left of %d", after.Bytes, before.Bytes)
	}
	until(t, s, "forgetting", func(st Stats) bool { return st.RemovedTags == 0 })
	s.Close()
	s = openStore(t, dir, small())
	defer s.Close()
	tagged(t, s, 20, 50_000, 1)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.merges.raise()
	until(t, s, "forgetting", func(st Stats) bool { return st.RemovedTags == 0 })
	if got := s.Stats().Records; got != 3001 {
		t.Errorf("%d records", got)
	}
}

// TestRest writes, and rests: what is in memory becomes a segment, and its log goes.
func TestRest(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, &Options{Memory: 3 << 20, Reserve: -1})
	defer s.Close()
	tagged(t, s, 1, 0, 10) // less than is worth a segment
	tagged(t, s, 1, 10, 1000)
	until(t, s, "a segment", func(st Stats) bool { return st.Segments > 0 && st.Records == 1010 })
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	for end := time.Now().Add(time.Minute); len(logs) > 0 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		logs, err = filepath.Glob(filepath.Join(dir, "*.log")) // it goes after the segment is there
	}
	if err != nil || len(logs) > 0 {
		t.Errorf("logs %q, %v", logs, err)
	}
}

// TestEven leaves a store whose partitions have not all merged the same: what some have merged does not stay
// for the sake of the others.
func TestEven(t *testing.T) {
	s := openStore(t, t.TempDir(), &Options{Memory: 3 << 20, Partitions: 4, Reserve: -1})
	defer s.Close()
	flushed := func(from int) {
		t.Helper()
		tagged(t, s, 1, from, 1000)
		if err := s.flushAll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	flushed(0)
	flushed(1000)
	s.merging.Lock()
	v := s.acquire()
	err := s.merge(v, v.Plan(2))
	s.release(v)
	s.merging.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	flushed(2000)
	if st := s.Stats(); st.Segments != 4 {
		t.Fatalf("%+v", st)
	}
	before := s.Stats()
	until(t, s, "merging", func(st Stats) bool { return st.Records == 3000 })
	if st := s.Stats(); st.Segments != 5 || st.Bytes > before.Bytes*9/10 { // a run of each partition, and what none merged
		t.Errorf("%+v, before %+v", st, before)
	}
	n := 0
	for _, err := range s.Range(t.Context(), valuestore.Everything()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 3000 {
		t.Errorf("%d records", n)
	}
}

// TestRemoveFew removes so little that nothing is rewritten for it, and reads skip it.
func TestRemoveFew(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	tagged(t, s, 1, 0, 2000)
	tagged(t, s, 2, 5000, 20)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n := 0
		for r, err := range s.Range(t.Context(), valuestore.Everything()) {
			if err != nil || r.Tag != 1 {
				t.Fatal(r.Tag, err)
			}
			n++
		}
		if st := s.Stats(); n != 2000 || st.Records != 2020 || st.RemovedTags != 1 {
			t.Errorf("%d records, %+v", n, st)
		}
		s.Close()
		s = openStore(t, dir, small())
	}
	// The next merge drops it.
	tagged(t, s, 3, 9000, 1)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Records != 2001 {
		t.Errorf("%+v", st)
	}
	s.Close()
}

// TestTombstones wants deletes to leave nothing behind once they have met what they delete.
func TestTombstones(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	defer s.Close()
	for range 3 {
		for n := range 100 {
			if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
				t.Fatal(err)
			}
		}
		for n := range 100 {
			if err := s.Delete(t.Context(), 1, numbered(n)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Records != 0 || st.Segments != 0 {
		t.Errorf("%+v", st)
	}
	if got := files(t, s.dir, "seg"); len(got) > 0 {
		t.Errorf("files are left: %v", got)
	}
}

// TestStrayFiles deletes what a crash left, and only that.
func TestStrayFiles(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 100)
	stray := strings.Replace(files(t, dir, "seg")[0], "/0000", "/0fff", 1)
	if err := os.WriteFile(stray, []byte("half of a segment"), 0o644); err != nil {
		t.Fatal(err)
	}
	other := dir + "/notes.txt"
	if err := os.WriteFile(other, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, dir, small())
	defer s.Close()
	if slices.Contains(files(t, dir, "seg"), stray) {
		t.Error("the half of a segment is still there")
	}
	if !slices.Equal(files(t, dir, "txt"), []string{other}) {
		t.Error("a file of somebody else is gone")
	}
	for n := range 100 {
		check(t, s, n, true)
	}
}

// TestRangeOutlivesMerges reads a range whose segments are merged away and whose store is closed
// meanwhile.
func TestRangeOutlivesMerges(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	for n := range 150 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	seen := 0
	for _, err := range s.Range(t.Context(), valuestore.Everything()) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 5 {
			for n := range 150 {
				if err := s.Delete(t.Context(), 1, numbered(n)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Compact(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if seen != 3000 {
		t.Errorf("%d records, want 3000", seen)
	}
	if got := files(t, s.dir, "seg"); len(got) > 0 {
		t.Errorf("files are left: %v", got)
	}
}

// TestShortKeys has two keys with the same beginning: a reader gets the values of both.
func TestShortKeys(t *testing.T) {
	s := openStore(t, t.TempDir(), &Options{KeyBytes: 8, Memory: 200 << 10})
	defer s.Close()
	a, b := dhash.Key{1, 2, 3}, dhash.Key{1, 2, 3}
	a[31], b[31] = 1, 2
	if err := s.Put(t.Context(), 1, valuestore.Records(nil).Append(a, []byte("a")).Append(b, []byte("b"))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var got []string
		for v, err := range s.Values(t.Context(), a) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(v.Bytes))
		}
		if !slices.Equal(got, []string{"a", "b"}) {
			t.Errorf("%q", got)
		}
		for r := range s.Range(t.Context(), valuestore.Everything()) {
			if r.Key != (dhash.Key{1, 2, 3}) {
				t.Errorf("key %x", r.Key)
			}
		}
		if err := s.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
