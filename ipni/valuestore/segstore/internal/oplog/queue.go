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

// Do hands operations to the writer, next to each other, and waits for them. What still waits when ctx ends is
// taken back, what is being written is waited for.
func (q *Queue) Do(ctx context.Context, all ...*Operation) error {
	for i, o := range all {
		o.done, o.rest = make(chan error, 1), i > 0
	}
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return fs.ErrClosed
	}
	q.waiting = append(q.waiting, all...)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default: // it is awake
	}
	var first error
	for _, o := range all {
		if err := q.wait(ctx, o); first == nil {
			first = err
		}
	}
	return first
}

func (q *Queue) wait(ctx context.Context, o *Operation) error {
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

// Len returns how many operations wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

// Empty reports whether nothing waits.
func (q *Queue) Empty() bool { return q.Len() == 0 }

// Has reports whether an operation of a kind waits.
func (q *Queue) Has(k Kind) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.waiting, func(o *Operation) bool { return o.Kind == k })
}

// Take returns the operations that are to be written together, of those kinds that may be: flushes, then
// removals, then deletes, then puts, so that a put at the same time as a delete stays. That holds for one
// whose first pieces were taken before, too: a delete is not taken with its other pieces, but after them.
func (q *Queue) Take(may func(Kind) bool) []*Operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	var group, left []*Operation
	size, pieces := int64(0), false
	for i, o := range q.waiting {
		if !may(o.Kind) {
			left = append(left, o)
			continue
		}
		if len(group) > 0 && size+o.Size() > GroupSize || o.Kind == Delete && pieces {
			left = append(left, q.waiting[i:]...)
			break
		}
		pieces = pieces || o.Kind == Put && o.rest
		size += o.Size()
		group = append(group, o)
	}
	q.waiting = left
	slices.SortStableFunc(group, func(a, b *Operation) int { return int(b.Kind) - int(a.Kind) })
	return group
}

// Fail ends the operations that wait, of those kinds that are to end.
func (q *Queue) Fail(err error, which func(Kind) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(o *Operation) bool {
		if which(o.Kind) {
			o.done <- err
			return true
		}
		return false
	})
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
