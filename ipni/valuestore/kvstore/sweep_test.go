package kvstore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/valuestore/valuestoretest"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

// watched is keys whose scans of removed tags are counted, and whose batches are seen before they are written.
type watched struct {
	kv.Store
	scans atomic.Int32
	batch func([]kv.Op)
}

func (w *watched) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	if r.From[0] == 'r' {
		w.scans.Add(1)
	}
	return w.Store.Scan(ctx, r)
}

func (w *watched) Batch(ctx context.Context, ops []kv.Op) error {
	if w.batch != nil {
		w.batch(ops)
	}
	return w.Store.Batch(ctx, ops)
}

// put puts n records under each of tags.
func put(t *testing.T, s *kvstore.Store, n int, tags ...valuestore.Tag) {
	t.Helper()
	for _, tag := range tags {
		var records valuestore.Records
		for i := range n {
			records = records.Append(valuestoretest.Key(i), []byte("x"))
		}
		if err := s.Put(t.Context(), tag, records); err != nil {
			t.Error(err)
		}
	}
}

func remove(t *testing.T, s *kvstore.Store, tags ...valuestore.Tag) {
	t.Helper()
	if err := s.Remove(t.Context(), tags...); err != nil {
		t.Error(err)
	}
}

// rows counts the rows with a prefix.
func rows(t *testing.T, db kv.Store, prefix string) (n int) {
	t.Helper()
	for _, err := range db.Scan(t.Context(), kv.Prefix([]byte(prefix))) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

// seen counts the records that s yields.
func seen(t *testing.T, s *kvstore.Store) (n int) {
	t.Helper()
	for _, err := range s.Range(t.Context(), valuestore.Everything()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func TestSweep(t *testing.T) {
	db := memkv.New()
	s := kvstore.New(db)
	put(t, s, 5000, 0, 1, 2, 3, 4)
	remove(t, s, 1, 3)
	if got := []int{rows(t, db, "v"), rows(t, db, "r"), seen(t, s)}; got[0] != 25_000 || got[1] != 2 || got[2] != 15_000 {
		t.Errorf("rows, removed tags, records: %d", got)
	}
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := []int{rows(t, db, "v"), rows(t, db, "r"), seen(t, s)}; got[0] != 15_000 || got[1] != 0 || got[2] != 15_000 {
		t.Errorf("after the sweep: %d", got)
	}
}

// TestRun sweeps without being told, no faster than it may.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memkv.New()
		s := kvstore.New(db)
		put(t, s, 10_000, 1, 2)
		remove(t, s, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx, &kvstore.SweepOptions{Every: time.Minute, Rate: 1000}) }()
		time.Sleep(time.Minute - time.Second)
		synctest.Wait()
		if n := rows(t, db, "v"); n != 20_000 {
			t.Errorf("%d rows before the first pass", n)
		}
		time.Sleep(11 * time.Second) // of 20
		synctest.Wait()
		if n := rows(t, db, "v"); n <= 12_000 || n == 20_000 {
			t.Errorf("%d rows are left within a pass", n)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if v, r := rows(t, db, "v"), rows(t, db, "r"); v != 10_000 || r != 1 {
			t.Errorf("after a pass: %d rows, %d tags", v, r)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if v, r := rows(t, db, "v"), rows(t, db, "r"); v != 10_000 || r != 0 || seen(t, s) != 10_000 {
			t.Errorf("after two passes: %d rows, %d tags", v, r)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the end: %v", err)
		}
	})
}

// TestLateWrite has a write of a removed tag come to be after a pass: nobody sees it.
func TestLateWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := memkv.New()
		s, other := kvstore.New(db), kvstore.New(db)
		put(t, s, 10, 1, 2)
		remove(t, s, 1)
		go s.Run(t.Context(), &kvstore.SweepOptions{Every: time.Minute, Rate: -1})
		time.Sleep(90 * time.Second)
		synctest.Wait()
		put(t, other, 10, 1)
		for range 4 {
			if n := seen(t, s); n != 10 || seen(t, other) != 10 {
				t.Errorf("%d records: what was removed came back", n)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		if v, r := rows(t, db, "v"), rows(t, db, "r"); v != 10 || r != 0 {
			t.Errorf("at the end: %d rows, %d tags", v, r)
		}
	})
}

// TestRemovedOnce reads the tags that are removed when they changed, not for each read.
func TestRemovedOnce(t *testing.T) {
	db := &watched{Store: memkv.New()}
	s := kvstore.New(db)
	put(t, s, 10, 1, 2, 3)
	for n := range int32(3) {
		remove(t, s, valuestore.Tag(n+1))
		for range 100 {
			if got := seen(t, s); got != 20-10*int(n) {
				t.Fatalf("%d records", got)
			}
		}
		if got := db.scans.Load(); got != n+1 {
			t.Errorf("the removed tags were read %d times, after %d removals", got, n+1)
		}
	}
}

// TestRemovedElsewhere removes and sweeps through one of two stores that share the keys.
func TestRemovedElsewhere(t *testing.T) {
	db := memkv.New()
	s, other := kvstore.New(db), kvstore.New(db)
	put(t, s, 10, 1, 2, 3)
	for tag := range valuestore.Tag(3) {
		if n := seen(t, other); n != 30-10*int(tag) {
			t.Errorf("%d records", n)
		}
		remove(t, s, tag+1)
		if n := seen(t, other); n != 20-10*int(tag) {
			t.Errorf("%d records after %d was removed", n, tag+1)
		}
		if tag == 1 {
			if err := s.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestSweepTogether has two stores that share the keys sweep while others write, remove and read.
func TestSweepTogether(t *testing.T) {
	const tags, records = 60, 200
	db := memkv.New()
	var all, sweepers sync.WaitGroup
	var stop atomic.Bool
	for range 2 {
		s := kvstore.New(db)
		sweepers.Go(func() {
			for !stop.Load() {
				if err := s.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for w := range 4 {
		s := kvstore.New(db)
		all.Go(func() {
			for i := range tags {
				tag := valuestore.Tag(1 + w*tags + i)
				put(t, s, records, tag)
				if i%2 == 1 {
					continue
				}
				remove(t, s, tag)
				for v, err := range s.Values(t.Context(), valuestoretest.Key(1)) {
					if err != nil || v.Tag == tag {
						t.Errorf("removed, and there: %v %v", v, err)
					}
				}
			}
		})
	}
	all.Wait()
	stop.Store(true)
	sweepers.Wait()
	s := kvstore.New(db)
	if err := s.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if v, r, n := rows(t, db, "v"), rows(t, db, "r"), seen(t, s); v != 2*tags*records || r != 0 || n != v {
		t.Errorf("%d rows, %d tags, %d records", v, r, n)
	}
}

// TestPutInParts deletes a record of a put that is written in several batches, between them. A delete that is
// acknowledged before the put must not have an effect on it.
func TestPutInParts(t *testing.T) {
	db := &watched{Store: memkv.New()}
	s := kvstore.New(db)
	first := valuestore.Records(nil).Append(valuestoretest.Key(0), []byte("x"))
	var deletes sync.WaitGroup
	puts, before := 0, make(chan error, 1)
	db.batch = func(ops []kv.Op) {
		if ops[0].Kind != kv.KindPut {
			return
		}
		if puts++; puts != 2 {
			return
		}
		deletes.Go(func() { before <- s.Delete(t.Context(), 7, first) })
		select { // it must wait for the put, so there is nothing to wait for but time
		case err := <-before:
			t.Errorf("a record of a put that is under way was deleted: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	put(t, s, 10_000, 7)
	deletes.Wait()
	if puts != 3 || seen(t, s) != 9_999 {
		t.Errorf("%d batches, %d records", puts, seen(t, s))
	}
}

func ExampleStore_Run() {
	ctx, stop := context.WithCancel(context.Background())
	s := kvstore.New(memkv.New())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx, nil) }()
	// … use s
	stop()
	fmt.Println(<-ended)
	// Output: context canceled
}
