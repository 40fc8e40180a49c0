package segstore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/catalog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/disk"
)

// onDisk returns options of a store on a disk with so much space.
func onDisk(free *atomic.Uint64, reserve int64) *Options {
	o := small()
	o.Reserve = reserve
	o.free = func(string) (uint64, error) { return free.Load(), nil }
	return o
}

// TestFullDisk wants a disk that becomes full to refuse puts, then deletes, and never removals, whose
// space comes back.
func TestFullDisk(t *testing.T) {
	const reserve = 4 << 20
	var free atomic.Uint64
	free.Store(1 << 40)
	s := openStore(t, t.TempDir(), onDisk(&free, reserve))
	defer s.Close()
	for tag := range valuestore.Tag(4) {
		tagged(t, s, tag+1, int(tag)*1000, 1000)
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		free        uint64
		put, delete bool
	}{{reserve, true, true}, {reserve - 1, false, true}, {reserve / 2, false, true}, {reserve/2 - 10, false, false}} {
		free.Store(c.free)
		if err := s.Put(t.Context(), 9, numbered(500)); (err == nil) != c.put || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes: put: %v", c.free, err)
		}
		if err := s.Delete(t.Context(), 9, numbered(500)); (err == nil) != c.delete || err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%d bytes: delete: %v", c.free, err)
		}
	}
	free.Store(reserve / 4) // nothing for merges
	if err := s.Remove(t.Context(), 1, 2, 3); err != nil {
		t.Fatal(err)
	}
	until(t, s, "a merge that fails", func(Stats) bool { return errors.Is(s.Err(), syscall.ENOSPC) })
	if st := s.Stats(); st.RemovedTags != 3 {
		t.Errorf("%+v", st)
	}
	free.Store(reserve/4 + 100<<10) // for what is left of a partition
	until(t, s, "reclaiming", func(st Stats) bool { return st.Records <= 1040 && s.Err() == nil })
}

// TestSmallerMerge has room for one of two runs of a partition: that one is written again.
func TestSmallerMerge(t *testing.T) {
	const reserve = 4 << 20
	var free atomic.Uint64
	free.Store(1 << 40)
	o := onDisk(&free, reserve)
	o.Partitions, o.Memory = 1, 30<<20
	s := openStore(t, t.TempDir(), o)
	defer s.Close()
	tagged(t, s, 1, 0, 12_000)
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	tagged(t, s, 2, 20_000, 2000)
	tagged(t, s, 3, 30_000, 10_000)
	if err := s.flushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.merging.Lock()
	v := s.acquire()
	s.mergeFirst(v, v.Plans(0))
	s.release(v)
	s.merging.Unlock()
	v = s.acquire()
	if n := len(v.Parts[0].Runs); n != 2 || s.Err() != nil {
		t.Fatalf("%d runs, %v", n, s.Err())
	}
	s.release(v)
	free.Store(reserve/4 + 1<<20) // the larger run does not fit
	if err := s.Remove(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	until(t, s, "reclaiming", func(st Stats) bool { return st.Records == 14_000 })
}

// damage flips a bit of a block of a segment.
func damage(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], 300); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], 300); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedRun damages the run of a partition: all go on to be merged, that one without it, and writes go on.
func TestDamagedRun(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	defer s.Close()
	for n := range 40 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := s.acquire()
	bad := v.Parts[1].Runs[0].Name()
	s.release(v)
	damage(t, bad)
	for n := range 4000 { // some rounds of merges of the first level
		if err := s.Put(t.Context(), 1, numbered(100+n)); err != nil {
			t.Fatalf("put %d: %v", n, err)
		}
	}
	err := s.Err()
	if !errors.Is(err, digest.ErrMismatch) || !strings.Contains(err.Error(), filepath.Base(bad)) || !strings.Contains(err.Error(), "partition 1:") {
		t.Errorf("%v", err)
	}
	if v := s.acquire(); len(v.Parts[1].Runs) < 2 {
		t.Error("nothing was merged beside the damaged run")
	} else {
		s.release(v)
	}
}

// TestDamagedPending damages a segment of the whole range, which keeps one partition from being merged at all: others are,
// and only when there is no more room for segments do puts fail, with the reason. Removals go on.
func TestDamagedPending(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	defer s.Close()
	tagged(t, s, 1, 0, 100)
	s.merging.Lock()
	if err := s.flushAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	damage(t, files(t, s.dir, "seg")[0]) // its first block, of partition 0 and maybe some of the next one
	s.merging.Unlock()
	var failed error
	n := 0
	for ; failed == nil && n < 5000; n++ {
		failed = s.Put(t.Context(), 1, numbered(100+n))
	}
	if !errors.Is(failed, digest.ErrMismatch) {
		t.Fatalf("%d puts: %v", n, failed)
	}
	v := s.acquire()
	defer s.release(v)
	if !v.Crowded() {
		t.Errorf("puts fail with %d segments", len(v.L0))
	}
	for i := range v.Parts {
		if merged := len(v.Parts[i].Runs) > 0; i != 1 && merged != (i > 0) {
			t.Errorf("partition %d: merged %v", i, merged)
		}
	}
	if err := s.Remove(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

// TestTransientFailure wants puts to wait when a merge failed that may go well the next time.
func TestTransientFailure(t *testing.T) {
	s := openStore(t, t.TempDir(), small())
	defer s.Close()
	s.merging.Lock()
	acked := make(chan error, 2200)
	go func() {
		defer close(acked)
		for n := range 2200 { // more than is taken without merges
			acked <- s.Put(t.Context(), 1, numbered(n))
		}
	}()
	unlock := sync.OnceFunc(s.merging.Unlock)
	defer unlock() // before the store is closed
	crowded := func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.current.Crowded() && len(s.current.Tables) == maxTables && s.current.Tables[0].Size() >= s.tableSize
	}
	for end := time.Now().Add(20 * time.Second); !crowded(); time.Sleep(time.Millisecond) {
		if len(acked) == cap(acked) || time.Now().After(end) {
			t.Fatalf("there is room without merges for %d puts", len(acked))
		}
	}
	s.report(0, false, errors.New("just now"))
	if err := s.Remove(t.Context(), 7); err != nil { // after it, the committer knows
		t.Fatal(err)
	}
	before := len(acked)
	if err := s.Remove(t.Context(), 8); err != nil {
		t.Fatal(err)
	}
	if len(acked) != before {
		t.Error("the put did not wait")
	}
	unlock()
	s.merges.raise()
	for err := range acked {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestUnsyncedManifest fails to sync the directory after the manifest was replaced: a crash then finds what the
// manifest names, whichever one it is.
func TestUnsyncedManifest(t *testing.T) {
	var broken atomic.Bool
	o := small()
	o.syncDir = func(name string) error {
		if broken.Load() && strings.HasSuffix(name, catalog.Manifest) {
			return errors.New("the disk is gone")
		}
		return disk.SyncDir(name)
	}
	dir := t.TempDir()
	s := openStore(t, dir, o)
	for n := range 10 {
		if err := s.Put(t.Context(), 1, numbered(n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(t.Context(), 4, 5); err != nil {
		t.Fatal(err)
	}
	broken.Store(true)
	go s.Compact(t.Context()) // ends when the flush is done
	until(t, s, "failure", func(Stats) bool { return s.Err() != nil })
	crashed := t.TempDir()
	s.editing.Lock()
	err := os.CopyFS(crashed, os.DirFS(dir))
	s.editing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	again := openStore(t, crashed, small())
	defer again.Close()
	for n := range 10 {
		check(t, again, n, true)
	}
	broken.Store(false)
	until(t, s, "recovery", func(st Stats) bool { return s.Err() == nil && st.Segments > 0 })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, small())
	defer s.Close()
	for n := range 10 {
		check(t, s, n, true)
	}
}

// TestBursts writes in bursts that become a segment each: a record is still written about four times, and not
// again for each few of them.
func TestBursts(t *testing.T) {
	s := openStore(t, t.TempDir(), &Options{Memory: 3 << 20, Partitions: 4, Reserve: -1})
	defer s.Close()
	var logical int64
	for n := range 150 {
		var records valuestore.Records
		for i := range 500 {
			records = records.Append(uniformKey(n*500+i), make([]byte, 100))
		}
		logical += int64(len(records))
		if err := s.Put(t.Context(), valuestore.Tag(n+1), records); err != nil {
			t.Fatal(err)
		}
		if err := s.flushAll(t.Context()); err != nil { // as after a rest
			t.Fatal(err)
		}
	}
	until(t, s, "merging", func(Stats) bool {
		v := s.acquire()
		defer s.release(v)
		return v.Behind(s.waits) < 0
	})
	if times := float64(s.written.Load()) / float64(logical); times > 3.6 {
		t.Errorf("each byte is written %.2f times", times)
	} else {
		t.Logf("each byte is written %.2f times", times)
	}
}
