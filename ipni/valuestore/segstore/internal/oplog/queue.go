package oplog

import (
	"context"
	"io/fs"
	"slices"
	"sync"
)

// Queue is the operations that wait to be written.
type Queue struct {
	mu      sync.Mutex
	waiting []*Operation
	closed  bool
	wake    chan struct{}
}

// NewQueue returns an empty queue.
func NewQueue() *Queue { return &Queue{wake: make(chan struct{}, 1)} }

// Wake is ready when something waits that did not before.
func (q *Queue) Wake() <-chan struct{} { return q.wake }

// Do hands an operation to the writer and waits for it. What still waits when ctx ends is
// taken back, what is being written is waited for.
func (q *Queue) Do(ctx context.Context, o *Operation) error {
	o.done = make(chan error, 1)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return fs.ErrClosed
	}
	q.waiting = append(q.waiting, o)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
	select {
	case err := <-o.done:
		return err
	case <-ctx.Done():
	}
	q.mu.Lock()
	i := slices.Index(q.waiting, o)
	if i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
	q.mu.Unlock()
	if i >= 0 {
		return ctx.Err()
	}
	return <-o.done
}

// Done ends operations that were taken.
func Done(group []*Operation, err error) {
	for _, o := range group {
		o.done <- err
	}
}

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}

// Take returns the operations that are to be written together: flushes, then removals, then
// deletes, then puts, so that a put at the same time as a delete stays.
func (q *Queue) Take() []*Operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].Size() <= GroupSize) {
		size += q.waiting[n].Size()
		n++
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	slices.SortStableFunc(group, func(a, b *Operation) int { return int(b.Kind) - int(a.Kind) })
	return group
}

// Fail ends all operations that wait.
func (q *Queue) Fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	Done(q.waiting, err)
	q.waiting = nil
}

// Close refuses further operations. It returns false if it was called before.
func (q *Queue) Close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	was := q.closed
	q.closed = true
	return !was
}

// Closed reports whether Close was called.
func (q *Queue) Closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed
}
