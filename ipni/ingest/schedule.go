package ingest

import (
	"context"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
)

// task is what is to be done for one publisher. Its fields are guarded by the mutex of
// the ingester, except those that only the worker uses that has set busy.
type task struct {
	id      peer.ID
	busy    bool
	known   bool      // it answered once
	urgent  bool      // announced, and not served since
	served  uint64    // number of the last turn
	wants   uint64    // how often its head was wanted
	due     time.Time // of the next turn
	headAt  time.Time // when its head is to be asked for
	askedAt time.Time // when it was last asked for its head
	addrs   []multiaddr.Multiaddr
	hint    cid.Cid // announced, and not seen yet

	hintTries int
	resync    *uint64 // depth that is to be read again
	all       bool    // what could not be read is to be tried now
	waiters   []chan error

	// Of the worker:
	chain   ipni.Chain
	through string    // the addresses of chain
	segment *segment  // what is fetched of the current one
	free    time.Time // when what was read is paid for, by the limits of rates
}

// addTask adds a publisher; in.mu is held.
func (in *Ingester) addTask(id peer.ID, known bool) *task {
	t := &task{id: id, known: known, due: never, headAt: never}
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
			in.serve(ctx, t)
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
			next = earlier(next, t.due)
		case !in.o.Owns(t.id):
			t.due = now.Add(in.o.Refresh)
			next = earlier(next, t.due)
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

func (in *Ingester) before(a, b *task, prefer bool) bool {
	if prefer && a.urgent != b.urgent {
		return a.urgent
	}
	return a.served < b.served
}

// isUrgent reports whether a publisher was announced while it is worked on.
func (in *Ingester) isUrgent(t *task) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return t.urgent && !t.headAt.After(time.Now())
}

// pause makes everything wait as the sink or the store failed.
func (in *Ingester) pause(err error) {
	in.mu.Lock()
	in.paused.tries++
	in.paused.cause = err
	in.paused.until = time.Now().Add(backoff(in.paused.tries, time.Second, in.o.MaxPause))
	in.mu.Unlock()
	in.o.Trace.paused(err)
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
		t.closeChain()
	}
}

func (t *task) closeChain() {
	if c, ok := t.chain.(io.Closer); ok {
		c.Close() // nothing was written to it
	}
	t.chain, t.through = nil, ""
}

// backoff is a pause after a number of failures: doubled each time, up to limit, and
// spread so that those who failed together do not come back together.
func backoff(tries uint64, first, limit time.Duration) time.Duration {
	d := min(first<<min(tries-1, 20), limit)
	if d <= 0 {
		d = limit
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
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

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// locks is a lock for each key that is in use.
type locks[K comparable] struct {
	mu   sync.Mutex
	held map[K]chan struct{}
}

// lock waits until no other holds key and returns the unlock.
func (l *locks[K]) lock(ctx context.Context, key K) (func(), error) {
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = map[K]chan struct{}{}
		}
		busy, ok := l.held[key]
		if !ok {
			mine := make(chan struct{})
			l.held[key] = mine
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, key)
				l.mu.Unlock()
				close(mine)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// budget is bytes that may be held.
type budget struct {
	mu   sync.Mutex
	left int64
}

// take reports whether n could be taken.
func (b *budget) take(n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.left < n {
		return false
	}
	b.left -= n
	return true
}

func (b *budget) give(n int64) {
	b.mu.Lock()
	b.left += n
	b.mu.Unlock()
}
