package scrub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/kv/memkv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/scrub"
	"github.com/hashstream/hashstream/unixfs"
)

// shelf is packs of one leaf each, and their index.
type shelf struct {
	*memblob.Store
	keys  *memkv.Store
	index *index.Index
	packs []pack.Info
	read  func(key string) error // called before a pack is opened; may be nil
}

const leafSize = 100_000

func newShelf(t testing.TB, packs int) *shelf {
	t.Helper()
	s := &shelf{Store: memblob.New(), keys: memkv.New()}
	s.index = index.New(s.keys, nil)
	profile, err := unixfs.ParseProfile("unixfs-v1-2025")
	if err != nil {
		t.Fatal(err)
	}
	dst := ingest.Destination{Packs: s.Store, Record: func() ingest.Recorder { return index.NewBuilder(s.keys, index.LevelAll) }}
	for i := range packs {
		data := bytes.Repeat([]byte{byte(i + 1)}, leafSize)
		if _, err := ingest.Add(t.Context(), fstest.MapFS{"f": {Data: data}}, "f", dst, &ingest.Options{Profile: profile}); err != nil {
			t.Fatal(err)
		}
	}
	for info, err := range pack.List(t.Context(), s) {
		if err != nil {
			t.Fatal(err)
		}
		s.packs = append(s.packs, info)
	}
	if len(s.packs) != packs {
		t.Fatalf("%d packs, want %d", len(s.packs), packs)
	}
	return s
}

func (s *shelf) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	if s.read != nil {
		if err := s.read(key); err != nil {
			return nil, err
		}
	}
	return s.Store.Get(ctx, key, off, n)
}

// damage flips a byte of a pack, and returns the way back.
func (s *shelf) damage(t testing.TB, d digest.Digest, off int) (restore func()) {
	t.Helper()
	good, err := blob.Read(t.Context(), s.Store, pack.Key(d), 0, s.size(d))
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[off] ^= 1
	put := func(b []byte) {
		if err := s.Delete(t.Context(), pack.Key(d)); err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), pack.Key(d), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	put(bad)
	return func() { put(good) }
}

func (s *shelf) size(d digest.Digest) int64 {
	for _, info := range s.packs {
		if info.Digest == d {
			return info.Size
		}
	}
	return 0
}

func (s *shelf) quarantined(t testing.TB) (locations []index.Location) {
	t.Helper()
	for bad, err := range s.index.Quarantines(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		locations = append(locations, bad.Location)
	}
	return locations
}

func TestPass(t *testing.T) {
	s := newShelf(t, 5)
	victim := s.packs[2].Digest
	restore := s.damage(t, victim, 5000)
	var total, read int64
	var faults []string
	x := scrub.New(s, s.keys, &scrub.Options{Trace: scrub.Trace{
		Start: func(n int64) { total = n },
		Pack:  func(info pack.Info, _ int64) { read += info.Size },
		Fault: func(f pack.Fault, loc index.Location) {
			faults = append(faults, fmt.Sprint(loc == index.Location{Pack: victim}, f.CID.Defined()))
		},
	}})
	r, err := x.Pass(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The bad block, and with it the name of the pack.
	if diff := cmp.Diff(scrub.Report{Packs: 5, Bytes: total, Faults: 2}, r); diff != "" || total != read || total < 5*leafSize {
		t.Errorf("of %d bytes %d were read (-want +got):\n%s", total, read, diff)
	}
	if diff := cmp.Diff([]string{"true true", "true false"}, faults); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
	if got := s.quarantined(t); len(got) != 1 || got[0].Pack != victim {
		t.Errorf("in quarantine: %v", got)
	}
	restore()
	r, err = x.Pass(t.Context())
	if err != nil || r.Faults != 0 || r.Released != 1 || len(s.quarantined(t)) != 0 {
		t.Errorf("after it was restored: %+v, %v, in quarantine %v", r, err, s.quarantined(t))
	}
}

// TestResume stops a pass in its middle.
func TestResume(t *testing.T) {
	for _, resume := range []bool{true, false} {
		s := newShelf(t, 5)
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		s.read = func(key string) error {
			if ctx.Err() == nil && len(seen) == 3 {
				cancel()
				return ctx.Err()
			}
			seen = append(seen, key)
			return nil
		}
		x := scrub.New(s, s.keys, &scrub.Options{Resume: resume})
		if r, err := x.Pass(ctx); !errors.Is(err, context.Canceled) || r.Packs != 3 {
			t.Fatalf("interrupted: %+v, %v", r, err)
		}
		x = scrub.New(s, s.keys, &scrub.Options{Resume: resume}) // the process starts again
		want := int64(5)
		if resume {
			want = 2
		}
		if r, err := x.Pass(t.Context()); err != nil || r.Packs != want {
			t.Errorf("resume %v: %+v, %v, want %d packs", resume, r, err, want)
		}
		if r, err := x.Pass(t.Context()); err != nil || r.Packs != 5 {
			t.Errorf("the pass after: %+v, %v", r, err)
		}
	}
}

// TestReleasedInParts restores a pack that an interrupted pass had seen.
func TestReleasedInParts(t *testing.T) {
	s := newShelf(t, 3)
	restore := s.damage(t, s.packs[0].Digest, 5000)
	x := scrub.New(s, s.keys, &scrub.Options{Resume: true})
	if r, err := x.Pass(t.Context()); err != nil || r.Faults != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	restore()
	last := pack.Key(s.packs[2].Digest)
	s.read = func(key string) error {
		if key == last {
			return io.ErrClosedPipe
		}
		return nil
	}
	if r, err := x.Pass(t.Context()); !errors.Is(err, io.ErrClosedPipe) || r.Released != 1 || len(s.quarantined(t)) != 0 {
		t.Errorf("a whole pack is not released before the end of the pass: %+v, %v", r, err)
	}
}

func TestDeletedDuringPass(t *testing.T) {
	s := newShelf(t, 4)
	s.read = func(key string) error {
		if key == pack.Key(s.packs[1].Digest) {
			return s.Delete(t.Context(), key)
		}
		return nil
	}
	r, err := scrub.New(s, s.keys, nil).Pass(t.Context())
	if err != nil || r.Packs != 3 || r.Faults != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestRate reads more packs than fit into one burst.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 30)
		began := time.Now()
		r, err := scrub.New(s, s.keys, &scrub.Options{Rate: 200_000}).Pass(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := time.Duration(float64(r.Bytes-200_000) / 200_000 * float64(time.Second))
		if took := time.Since(began); took < want || took > want+time.Second {
			t.Errorf("%d bytes took %v, want %v", r.Bytes, took, want)
		}
	})
}

// TestRun sees when passes begin: one that fails is repeated soon.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 24 * time.Hour
		s := newShelf(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		var starts []time.Duration
		var failed []bool
		s.read = func(string) error {
			time.Sleep(time.Hour) // a pass takes its time, which is part of the interval
			if len(starts) == 1 {
				return io.ErrClosedPipe
			}
			return nil
		}
		scrub.New(s, s.keys, nil).Run(ctx, interval, func(started time.Time, _ scrub.Report, err error) {
			starts = append(starts, started.Sub(began))
			failed = append(failed, err != nil)
			if len(starts) == 4 {
				cancel()
			}
		})
		if diff := cmp.Diff([]bool{false, true, false, false}, failed); diff != "" {
			t.Fatalf("failures (-want +got):\n%s", diff)
		}
		second := starts[2] - starts[1] - time.Hour
		if starts[0] != 0 || starts[1] != interval || second < 5*time.Minute || second > 10*time.Minute || starts[3]-starts[2] != interval {
			t.Errorf("passes began at %v", starts)
		}
	})
}

// TestRunEnds ends a Run that waits.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int)
		go func() {
			n := 0
			scrub.New(s, s.keys, nil).Run(ctx, time.Hour, func(time.Time, scrub.Report, error) { n++ })
			done <- n
		}()
		time.Sleep(90 * time.Minute)
		cancel()
		if n := <-done; n != 2 {
			t.Errorf("%d passes in 90 minutes, want 2", n)
		}
	})
}

// failing lists nothing but an error.
type failing struct{ *shelf }

func (failing) List(context.Context, string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, io.ErrNoProgress) }
}

func TestStoreFails(t *testing.T) {
	s := newShelf(t, 1)
	if _, err := scrub.New(failing{s}, s.keys, nil).Pass(t.Context()); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("pass over a store that cannot be listed: %v", err)
	}
}

func ExampleScrubber_Pass() {
	r, err := scrub.New(memblob.New(), memkv.New(), nil).Pass(context.Background())
	fmt.Println(r.Packs, r.Faults, err)
	// Output: 0 0 <nil>
}
