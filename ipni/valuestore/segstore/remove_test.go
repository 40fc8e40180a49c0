package segstore

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/catalog"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
)

// removeMany removes n tags, 512 at a time.
func removeMany(t testing.TB, s *Store, from valuestore.Tag, n int) {
	t.Helper()
	tags := make([]valuestore.Tag, 512)
	for i := 0; i < n; i += len(tags) {
		for j := range tags {
			tags[j] = from + valuestore.Tag(i+j)
		}
		if err := s.Remove(t.Context(), tags...); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRemoveMany removes tags of which a segment has some: the manifest stays small, and they are removed after the store
// is opened again, from the file or from the log.
func TestRemoveMany(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	tagged(t, s, 1, 0, 5000)
	for i := range 20 {
		tagged(t, s, valuestore.Tag(100+1000*i), 10_000+10*i, 10)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	removeMany(t, s, 50, 100*512)
	tagged(t, s, 1, 50_000, 1)
	if err := s.flushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	removeMany(t, s, 900_000, 512)
	for _, kind := range []string{catalog.Manifest, "*.tags"} {
		names, err := filepath.Glob(filepath.Join(dir, kind))
		if err != nil || len(names) != 1 {
			t.Fatal(names, err)
		}
		if info, err := os.Stat(names[0]); err != nil || info.Size() > 4096 {
			t.Errorf("%s is %d bytes, %v", kind, info.Size(), err)
		}
	}
	for range 2 {
		n := 0
		for r, err := range s.Range(t.Context(), valuestore.Everything()) {
			if err != nil || r.Tag != 1 {
				t.Fatal(r.Tag, err)
			}
			n++
		}
		if n != 5001 {
			t.Errorf("%d records", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir, small())
	}
	s.Close()
}

// TestForgetOld removes a tag with few records: nothing is written again for it, until the segments are old. Then
// it is forgotten.
func TestForgetOld(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, small())
	tagged(t, s, 1, 0, 3000)
	tagged(t, s, 2, 5000, 20)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(t.Context(), 2, 3); err != nil {
		t.Fatal(err)
	}
	until(t, s, "forgetting what no segment has", func(st Stats) bool { return st.RemovedTags == 1 })
	if st := s.Stats(); st.Records != 3020 {
		t.Errorf("%+v", st)
	}
	s.Close()
	long := time.Now().Add(-40 * 24 * time.Hour)
	for _, name := range files(t, dir, "seg") {
		if err := os.Chtimes(name, long, long); err != nil {
			t.Fatal(err)
		}
	}
	s = openStore(t, dir, small())
	defer s.Close()
	for s.Stats().RemovedTags > 0 {
		if !forgetSoon(t, s) {
			t.Fatalf("%+v", s.Stats())
		}
	}
	if st := s.Stats(); st.Records != 3000 {
		t.Errorf("%+v", st)
	}
}

// forgetSoon lets the merger do what it would do in time.
func forgetSoon(t *testing.T, s *Store) bool {
	t.Helper()
	end := time.Now().Add(20 * time.Second)
	for before := s.Stats(); s.Stats() == before; {
		if time.Now().After(end) {
			return false
		}
		s.merging.Lock()
		s.tidied, s.renewed = time.Time{}, time.Time{}
		s.merging.Unlock()
		s.mergeOnce()
	}
	return true
}

// TestForgetInMemory remembers a tag as long as a table has records of it.
func TestForgetInMemory(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	defer s.Close()
	tagged(t, s, 5, 0, 1)
	if err := s.Remove(t.Context(), 4, 5, 6); err != nil {
		t.Fatal(err)
	}
	until(t, s, "forgetting the others", func(st Stats) bool { return st.RemovedTags == 1 })
	for range s.Values(t.Context(), valuestoretest.Key(0)) {
		t.Error("the record is there")
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.merges.raise()
	until(t, s, "forgetting", func(st Stats) bool { return st.RemovedTags == 0 && st.Records == 0 })
}

// TestPutInPieces wants the pieces of a put to wait next to each other.
func TestPutInPieces(t *testing.T) {
	s := openStore(t, t.TempDir(), &Options{Memory: 200 << 20, Reserve: -1})
	defer s.Close()
	var records valuestore.Records
	for i := range 12_000 {
		records = records.Append(uniformKey(i), make([]byte, 1000))
	}
	first := records[:32+2+1000]
	s.removing.Lock()
	unlock := sync.OnceFunc(s.removing.Unlock)
	defer unlock() // before the store is closed
	var wg sync.WaitGroup
	waiting := func(n int) {
		t.Helper()
		for end := time.Now().Add(time.Minute); s.queue.Len() != n; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%d operations wait, want %d", s.queue.Len(), n)
			}
		}
	}
	wg.Go(func() {
		if err := s.Remove(t.Context(), 9); err != nil { // the committer waits in it
			t.Error(err)
		}
	})
	for s.written.Load() == 0 { // it is taken
		time.Sleep(time.Millisecond)
	}
	wg.Go(func() {
		if err := s.Put(t.Context(), 1, records); err != nil {
			t.Error(err)
		}
	})
	waiting(3)
	wg.Go(func() {
		if err := s.Delete(t.Context(), 1, first); err != nil {
			t.Error(err)
		}
	})
	waiting(4)
	unlock()
	wg.Wait()
	if n := s.Stats().Records; n != 12_001 { // with that of the delete
		t.Errorf("%d records", n)
	}
}

// BenchmarkRemove removes a provider of very many contexts: the time for a tag is that of few.
func BenchmarkRemove(b *testing.B) {
	for _, n := range []int{1 << 17, 1 << 20} {
		b.Run(fmt.Sprintf("tags=%d", n), func(b *testing.B) {
			for b.Loop() {
				s := openStore(b, b.TempDir(), nil)
				removeMany(b, s, 1, n)
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/tag")
		})
	}
}
