package ingest

import (
	"context"
	"errors"
	"hash/fnv"
	"io/fs"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ingest/attendance"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ingest/walk"
	"github.com/hashstream/hashstream/kv"
)

// task is what is to be done for one publisher. Its fields are guarded by the mutex of
// the ingester, except visit, which is the worker's that has set busy.
type task struct {
	id      peer.ID
	busy    bool
	known   bool      // it answered once
	tries   uint64    // failures, if it never answered
	urgent  bool      // announced, and not served since
	served  uint64    // number of the last turn
	wants   uint64    // how often its head was wanted
	due     time.Time // of the next turn
	headAt  time.Time // when its head is to be asked for
	askedAt time.Time // when it was last asked for its head
	wish    walk.Wish
	waiters []chan error
	aside   bool   // its turn waits for the publisher, and nobody attends it
	damage  error  // the row of the publisher is corrupt
	harmed  uint64 // turns that found it so
	visit   walk.Visit
}

// addTask adds a publisher; in.mu is held.
func (in *Ingester) addTask(id peer.ID, known bool) *task {
	t := &task{id: id, known: known, due: settings.Never(), headAt: settings.Never(), visit: walk.Visit{ID: id}}
	in.tasks[id] = t
	if !known {
		in.unknown++
	}
	return t
}

// dropTask forgets a publisher that never answered; in.mu is held.
func (in *Ingester) dropTask(t *task) {
	delete(in.tasks, t.id)
	if !t.known {
		in.unknown--
	}
}

// worst returns the publisher that never answered and failed most often, nil if none did: it gives way to one
// more. Anybody can announce peer ids behind which there is nobody. in.mu is held.
func (in *Ingester) worst() (worst *task) {
	for _, t := range in.tasks {
		if t.known || t.busy || t.tries == 0 || len(t.waiters) > 0 || worst != nil && t.tries <= worst.tries || !in.o.Owns(t.id) {
			continue
		}
		worst = t
	}
	return worst
}

// discarded returns the writes that delete a publisher that gave way, unless it answered another node.
func (in *Ingester) discarded(ctx context.Context, t *task) []kv.Op {
	if t == nil {
		return nil
	}
	t.visit.Close()
	if row, known, err := in.row(ctx, t.id); err != nil || !known || !row.ContactAt.IsZero() {
		return nil // it stays, and is found again when the state is loaded
	}
	return state.DropPublisher(t.id)
}

// notify wakes the workers; in.mu is held.
func (in *Ingester) notify() {
	close(in.wake)
	in.wake = make(chan struct{})
}

// work takes turns until ctx ends.
func (in *Ingester) work(ctx context.Context, worker int) {
	for n := worker; ctx.Err() == nil; n++ {
		t, wait, wake := in.take(n)
		if t != nil {
			in.attend(ctx, t)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// take returns the task whose turn it is, or how long there is none.
//
// It is the turn of whoever waited longest. Those that were announced go first, but
// every fourth turn is taken without that preference, so that history loads, too.
func (in *Ingester) take(n int) (*task, time.Duration, <-chan struct{}) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	if wait := in.paused.until.Sub(now); wait > 0 {
		return nil, wait, in.wake
	}
	var best *task
	next := now.Add(time.Hour)
	for _, t := range in.tasks {
		switch {
		case t.busy:
		case t.due.After(now):
			next = settings.Earlier(next, t.due)
		case !in.o.Owns(t.id):
			in.leave(t, now)
			next = settings.Earlier(next, t.due)
		case best == nil, in.before(t, best, n%4 != 3):
			best = t
		}
	}
	if best == nil {
		return nil, next.Sub(now), in.wake
	}
	in.turns++
	best.busy, best.served = true, in.turns
	return best, 0, nil
}

// leave says that another node works on a publisher for now; in.mu is held.
func (in *Ingester) leave(t *task, now time.Time) {
	t.visit.Leave()
	t.due = now.Add(in.o.Refresh)
	for _, w := range t.waiters {
		w <- ErrElsewhere
	}
	t.waiters = nil
}

func (in *Ingester) before(a, b *task, prefer bool) bool {
	if prefer && a.urgent != b.urgent {
		return a.urgent
	}
	return a.served < b.served
}

// news reports whether a publisher was announced while it is worked on, and may be asked
// for its head.
func (in *Ingester) news(t *task, wants uint64) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return t.wants != wants && !t.headAt.After(time.Now())
}

// pause makes everything wait as the sink or the store failed.
func (in *Ingester) pause(err error) {
	in.mu.Lock()
	in.paused.tries++
	in.paused.cause = err
	in.paused.until = time.Now().Add(settings.Backoff(in.paused.tries, time.Second, in.o.MaxPause))
	in.mu.Unlock()
	in.tracePause(err)
}

// resume says that the sink and the store work.
func (in *Ingester) resume() {
	in.mu.Lock()
	in.paused = pause{}
	in.mu.Unlock()
}

// closeChains closes the chains of all tasks after the workers have ended.
func (in *Ingester) closeChains() {
	for _, t := range in.tasks {
		t.visit.Close()
	}
}

// tracePause tells who observes that everything waits.
func (in *Ingester) tracePause(err error) {
	if in.o.Trace.Paused != nil {
		in.o.Trace.Paused(err)
	}
}

// row returns the row of a publisher, and whether there is one.
func (in *Ingester) row(ctx context.Context, id peer.ID) (state.Publisher, bool, error) {
	p, err := in.state.Publisher(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return state.Publisher{ID: id}, false, nil
	}
	return p, err == nil, err
}

// serve takes the turn of a task, and says when its next one is due.
func (in *Ingester) serve(ctx context.Context, t *task) {
	defer in.back(t)
	in.mu.Lock()
	wish, wants := t.wish, t.wants
	wish.Head = !t.headAt.After(time.Now())
	in.mu.Unlock()
	stop := in.watch(t)
	out, err := in.walker.Turn(ctx, &t.visit, wish, func() bool { return in.news(t, wants) })
	stop()
	if err != nil || ctx.Err() != nil {
		if ctx.Err() == nil && !errors.Is(err, attendance.ErrLost) {
			in.pause(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		t.busy, t.due = false, time.Now()
		in.notify()
		return
	}
	in.resume()
	in.finish(t, wants, out)
}

// finish says when the next turn is due. wants is what t had when its turn began: if it
// was announced meanwhile, that is not forgotten.
func (in *Ingester) finish(t *task, wants uint64, out walk.Outcome) {
	in.mu.Lock()
	defer in.mu.Unlock()
	now, news := time.Now(), t.wants != wants
	t.busy = false
	if !t.known && !out.Publisher.ContactAt.IsZero() {
		t.known = true
		in.unknown--
	}
	left := false
	t.tries = out.Publisher.Tries
	t.damage = out.Damaged
	switch {
	case in.lists.Check(t.id) != nil:
		t.headAt, t.due = settings.Never(), settings.Never()
	case out.Damaged != nil: // it may be repaired by other means
		t.harmed++
		t.due = now.Add(settings.Backoff(t.harmed, time.Second, in.o.PollRetry))
	case out.Err != nil && in.o.Stopped(&out.Publisher, now):
		t.headAt, t.due = settings.Never(), settings.Never()
		if !t.known {
			in.dropTask(t)
		}
	case out.Err != nil:
		t.due = now.Add(settings.Backoff(out.Publisher.Tries, time.Second, in.o.PollRetry))
		if !news {
			t.headAt = t.due
		}
		t.due = settings.Earlier(t.due, t.headAt) // perhaps it was announced elsewhere
	default:
		in.asked(t, news, out.Asked)
		left = out.Left
		t.due = settings.Earlier(out.Due, t.headAt)
	}
	t.urgent = t.urgent && !t.headAt.After(now) && out.Err == nil
	if !news && !left {
		for _, w := range t.waiters {
			w <- out.Cause
		}
		t.waiters = nil
	}
	in.notify()
}

// asked says when the head of t is to be asked for again, if it was: soon, if it was
// announced meanwhile. in.mu is held.
func (in *Ingester) asked(t *task, news bool, pause time.Duration) {
	if pause == 0 {
		return
	}
	t.askedAt = time.Now()
	if news {
		t.headAt = settings.Earlier(t.headAt, t.askedAt.Add(in.o.HeadInterval))
		return
	}
	t.headAt = t.askedAt.Add(pause)
	t.wish = walk.Wish{Hint: t.wish.Hint}
}

// spread returns a part of d that depends on the publisher.
func spread(id peer.ID, d time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(id))
	return time.Duration(h.Sum64() % uint64(max(d, 1)))
}

// sleep reports whether d passed before ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
