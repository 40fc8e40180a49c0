package publish_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob/memblob"
	"github.com/hashstream/hashstream/ipni/publish"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/kv/memkv"
)

var errFull = errors.New("no space left")

// budget is how many writes succeed. The last may be done although it says that it failed, as
// when a process dies before it hears so.
type budget struct {
	left  int
	after bool // the write that fails is done
}

func (b *budget) spend(write func() error) error {
	b.left--
	if b.left >= 0 {
		return write()
	}
	if b.after && b.left == -1 {
		if err := write(); err != nil {
			return err
		}
	}
	return errFull
}

type failingKV struct {
	kv.Store
	b *budget
}

func (f failingKV) Batch(ctx context.Context, ops []kv.Op) error {
	return f.b.spend(func() error { return f.Store.Batch(ctx, ops) })
}

type failingBlobs struct {
	*memblob.Store
	b *budget
}

func (f failingBlobs) Put(ctx context.Context, key string, r io.Reader) error {
	return f.b.spend(func() error { return f.Store.Put(ctx, key, r) })
}

func (f failingBlobs) Delete(ctx context.Context, key string) error {
	return f.b.spend(func() error { return f.Store.Delete(ctx, key) })
}

// TestCrash lets each write of a change be the last one. What indexers see is what was before
// or what was to be, a retry does the rest, and nothing stays behind.
func TestCrash(t *testing.T) {
	a, b := numbers(t, 0, 25), numbers(t, 10, 47)
	for name, c := range map[string]struct {
		do   func(*publish.Publisher) error
		want map[string]set
	}{
		"put": {func(p *publish.Publisher) error {
			_, err := p.Put(t.Context(), []byte("new"), a.all(), nil)
			return err
		}, map[string]set{"old": a, "new": a}},
		"replace": {func(p *publish.Publisher) error {
			_, err := p.Put(t.Context(), []byte("old"), b.all(), nil)
			return err
		}, map[string]set{"old": b}},
		"remove": {func(p *publish.Publisher) error {
			_, err := p.Remove(t.Context(), []byte("old"))
			return err
		}, map[string]set{}},
		"reconcile": {func(p *publish.Publisher) error {
			_, err := p.Reconcile(t.Context(), wantOf(map[string]set{"x": a, "y": b}), nil)
			return err
		}, map[string]set{"old": a, "x": a, "y": b}},
	} {
		for _, after := range []bool{false, true} {
			for left := 0; ; left++ {
				db, blobs := memkv.New(), memblob.New()
				later := time.Now().Add(time.Hour)
				o := &publish.Options{Chunk: 10, Now: func() time.Time { return later }}
				put(t, open(t, db, blobs, o), "old", a, true)
				before := replay(t, open(t, db, blobs, o)).sets
				w := &budget{left, after}
				failed := c.do(open(t, failingKV{db, w}, failingBlobs{blobs, w}, o))
				p := open(t, db, blobs, o)
				got := replay(t, p).sets
				if name != "reconcile" && !cmp.Equal(got, before) && !cmp.Equal(got, c.want) {
					t.Errorf("%s, %d writes: neither what was before nor what was to be", name, left)
				}
				must(t, c.do(p))
				if diff := cmp.Diff(c.want, replay(t, p).sets); diff != "" {
					t.Errorf("%s, %d writes, then again: %s", name, left, diff)
				}
				later = later.Add(48 * time.Hour)
				_, err := p.Sweep(t.Context())
				must(t, err)
				noOrphans(t, p, blobs, fmt.Sprintf("%s, %d writes", name, left))
				if failed == nil {
					break
				}
				if !errors.Is(failed, errFull) {
					t.Errorf("%s, %d writes: %v", name, left, failed)
				}
			}
		}
	}
}

// noOrphans wants no block that the chain does not reach.
func noOrphans(t *testing.T, p *publish.Publisher, blobs *memblob.Store, what string) {
	t.Helper()
	r := &recorder{Publisher: p, seen: map[string]bool{}}
	replay(t, r)
	for _, key := range keys(t, blobs) {
		c, err := cid.Decode(key[len(key)-61:])
		must(t, err)
		if !r.seen[c.String()] {
			t.Errorf("%s: %s is not reached", what, key)
		}
	}
}

// recorder notes which blocks are read.
type recorder struct {
	*publish.Publisher
	seen map[string]bool
}

func (r *recorder) Block(ctx context.Context, c cid.Cid, kind kindOf) ([]byte, error) {
	r.seen[c.String()] = true
	return r.Publisher.Block(ctx, c, kind)
}

func TestAnnounce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, blobs := memkv.New(), memblob.New()
		down := true
		var told []cid.Cid
		var tries int
		o := &publish.Options{Announce: func(_ context.Context, head cid.Cid) error {
			tries++
			if down {
				return errors.New("the indexer is down")
			}
			told = append(told, head)
			return nil
		}}
		p := open(t, db, blobs, o)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		put(t, p, "a", numbers(t, 0, 1), true)
		put(t, p, "b", numbers(t, 0, 1), true)
		time.Sleep(time.Hour) // of the bubble's clock
		synctest.Wait()
		if tries < 8 || tries > 20 {
			t.Errorf("%d tries in an hour", tries)
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("run: %v", err)
		}

		down = false
		p = open(t, db, blobs, o) // it was not told before the restart
		head, err := p.Head(t.Context())
		must(t, err)
		if c, err := p.Unannounced(t.Context()); err != nil || c != head {
			t.Errorf("to be announced: %s, %v", c, err)
		}
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
		go func() { done <- p.Run(ctx) }()
		synctest.Wait()
		put(t, p, "c", numbers(t, 0, 1), true)
		synctest.Wait()
		last, err := p.Head(t.Context())
		must(t, err)
		if diff := cmp.Diff([]cid.Cid{head, last}, told, cmp.Comparer(cid.Cid.Equals)); diff != "" {
			t.Error(diff)
		}
		if _, err := p.Unannounced(t.Context()); err == nil {
			t.Error("it is still to be announced")
		}
		stop()
		<-done
	})
}

// TestAnnouncedMeanwhile has the head move while the one before is announced.
func TestAnnouncedMeanwhile(t *testing.T) {
	var p *publish.Publisher
	moves := 1
	o := &publish.Options{Announce: func(context.Context, cid.Cid) error {
		if moves--; moves == 0 {
			put(t, p, "b", numbers(t, 0, 1), true)
		}
		return nil
	}}
	p = open(t, memkv.New(), memblob.New(), o)
	put(t, p, "a", numbers(t, 0, 1), true)
	must(t, p.Announce(t.Context()))
	head, err := p.Head(t.Context())
	must(t, err)
	if c, err := p.Unannounced(t.Context()); err != nil || c != head {
		t.Errorf("the head that came meanwhile is to be announced: %s, %v", c, err)
	}
}

func wantOf(all map[string]set) func(func(publish.Item, error) bool) {
	return func(yield func(publish.Item, error) bool) {
		for id := range maps.Keys(all) {
			if !yield(publish.Item{ContextID: []byte(id), Entries: all[id].all()}, nil) {
				return
			}
		}
	}
}
