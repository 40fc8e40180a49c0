// Package memqueue is a queue in the memory of one process: the default of a node
// that works alone, and the queue of tests. What it holds ends with the process.
//
// It is bounded: Send blocks while [Options.Bound] messages wait, so that whoever
// lists a source runs no further ahead of the workers than that. Whoever sends
// before anybody receives needs a queue without a bound.
//
// # Errors
//
// As package queue says. What is done with a message after its term matches
// [io/fs.ErrNotExist], always.
//
// A Queue is safe for concurrent use.
package memqueue

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hashstream/hashstream/queue"
)

const (
	defaultBound = 1024
	defaultTerm  = 30 * time.Second
)

// Options of a queue.
type Options struct {
	// Bound is how many messages may wait before Send blocks. 0 means 1024, a
	// negative number that Send never blocks. Messages with receivers do not count,
	// and one that comes back is taken at any time.
	Bound int
	// Term is how long a message belongs to its receiver. 0 means 30 s.
	Term time.Duration
}

// Queue keeps messages in memory, in the order in which they may be received.
type Queue struct {
	bound int
	term  time.Duration

	mu    sync.Mutex
	ready [][]byte
	some  *sync.Cond // a message is ready
	room  *sync.Cond // one was taken
}

var _ queue.Queue = (*Queue)(nil)

// New returns an empty queue.
func New(o *Options) *Queue {
	if o == nil {
		o = &Options{}
	}
	q := &Queue{bound: o.Bound, term: o.Term}
	if q.bound == 0 {
		q.bound = defaultBound
	}
	if q.term == 0 {
		q.term = defaultTerm
	}
	q.some, q.room = sync.NewCond(&q.mu), sync.NewCond(&q.mu)
	return q
}

// Send adds a message; it blocks while the queue is full.
func (q *Queue) Send(ctx context.Context, body []byte) error {
	if err := queue.CheckBody(body); err != nil {
		return fmt.Errorf("memqueue: send: %w", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	err := wait(ctx, q.room, func() bool { return q.bound < 0 || len(q.ready) < q.bound })
	if err != nil {
		return fmt.Errorf("memqueue: send: %w", err)
	}
	q.put(bytes.Clone(body))
	return nil
}

// Receive takes the message that waited longest.
func (q *Queue) Receive(ctx context.Context) (queue.Message, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := wait(ctx, q.some, func() bool { return len(q.ready) > 0 }); err != nil {
		return queue.Message{}, fmt.Errorf("memqueue: receive: %w", err)
	}
	body := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	q.room.Signal()
	l := &lease{q: q, body: body, until: time.Now().Add(q.term)}
	l.back = time.AfterFunc(q.term, l.expire)
	return queue.Message{Body: bytes.Clone(body), Term: q.term, Lease: l}, nil
}

// put makes a message ready; q.mu is held.
func (q *Queue) put(body []byte) {
	q.ready = append(q.ready, body)
	q.some.Signal()
}

// wait waits on c, whose lock is held, until ok holds or ctx ends.
func wait(ctx context.Context, c *sync.Cond, ok func() bool) error {
	if ctx.Err() == nil && ok() {
		return nil
	}
	stop := context.AfterFunc(ctx, func() {
		c.L.Lock()
		defer c.L.Unlock()
		c.Broadcast()
	})
	defer stop()
	for ctx.Err() == nil {
		if ok() {
			return nil
		}
		c.Wait()
	}
	c.Signal() // a signal that this one took is for another
	return context.Cause(ctx)
}

// lease is the claim on one delivery.
type lease struct {
	q     *Queue
	body  []byte
	back  *time.Timer
	until time.Time // guarded by q.mu, as the next is
	ended bool
}

// expire gives the message back, unless it was extended just when the timer fired.
func (l *lease) expire() {
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if !l.ended && !time.Now().Before(l.until) {
		l.ended = true
		l.q.put(l.body)
	}
}

// hold calls f with the lock held while the lease lasts.
func (l *lease) hold(ctx context.Context, verb string, f func()) error {
	err := context.Cause(ctx)
	l.q.mu.Lock()
	defer l.q.mu.Unlock()
	if err == nil && l.ended {
		err = fmt.Errorf("its term ended: %w", fs.ErrNotExist)
	}
	if err != nil {
		return fmt.Errorf("memqueue: %s message: %w", verb, err)
	}
	f()
	return nil
}

// Done drops the message.
func (l *lease) Done(ctx context.Context) error {
	return l.hold(ctx, "finish", func() {
		l.ended = true
		l.back.Stop()
	})
}

// Release makes the message ready again after the given time.
func (l *lease) Release(ctx context.Context, after time.Duration) error {
	return l.hold(ctx, "release", func() {
		l.ended = true
		l.back.Stop()
		if after <= 0 {
			l.q.put(l.body)
			return
		}
		time.AfterFunc(after, func() {
			l.q.mu.Lock()
			defer l.q.mu.Unlock()
			l.q.put(l.body)
		})
	})
}

// Extend begins a new term.
func (l *lease) Extend(ctx context.Context) error {
	return l.hold(ctx, "extend", func() {
		l.until = time.Now().Add(l.q.term)
		l.back.Reset(l.q.term)
	})
}
