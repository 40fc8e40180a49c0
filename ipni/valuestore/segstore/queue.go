package segstore

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// What an operation does, as logs say it.
const (
	opPut    = 1
	opDelete = 2
	opRemove = 3
	opFlush  = 4 // in no log: begin a new table
)

const (
	pieceSize = 4 << 20 // of the records of an operation
	groupSize = 8 << 20 // that is written at once
)

// operation is a write of somebody who waits for it.
type operation struct {
	kind    byte
	tag     valuestore.Tag
	records valuestore.Records
	tags    []valuestore.Tag // of a removal
	done    chan error
}

func (o *operation) size() int64 { return int64(len(o.records)) + 10*int64(len(o.tags)) + 32 }

// queue is the operations that wait for the committer.
type queue struct {
	mu      sync.Mutex
	waiting []*operation
	closed  atomic.Bool
	wake    signal
}

// add hands an operation to the committer and waits for it. What waits when ctx ends is
// taken back, what is being written is waited for.
func (q *queue) add(ctx context.Context, o *operation) error {
	o.done = make(chan error, 1)
	q.mu.Lock()
	if q.closed.Load() {
		q.mu.Unlock()
		return fs.ErrClosed
	}
	q.waiting = append(q.waiting, o)
	q.mu.Unlock()
	q.wake.raise()
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

// take returns the operations that are to be written together. Deletes stand before puts, so
// that a put at the same time as a delete stays.
func (q *queue) take() []*operation {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, int64(0)
	for n < len(q.waiting) && (n == 0 || size+q.waiting[n].size() <= groupSize) {
		size += q.waiting[n].size()
		n++
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	slices.SortStableFunc(group, func(a, b *operation) int { return int(b.kind) - int(a.kind) })
	return group
}

// fail ends all operations that wait.
func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, o := range q.waiting {
		o.done <- err
	}
	q.waiting = nil
}

// close refuses further operations. It returns false if it was called before.
func (q *queue) close() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.closed.Swap(true)
}

// Put implements [valuestore.Store]. Of a put that fails or is cancelled, some records may be there.
func (s *Store) Put(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	if err := s.write(ctx, opPut, tag, records); err != nil {
		return fmt.Errorf("segstore: put: %w", err)
	}
	return nil
}

// Delete implements [valuestore.Store]. What may be there is not looked for: a delete costs as much
// space as a put, until it has met the record in a merge.
func (s *Store) Delete(ctx context.Context, tag valuestore.Tag, records valuestore.Records) error {
	if err := s.write(ctx, opDelete, tag, records); err != nil {
		return fmt.Errorf("segstore: delete: %w", err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, kind byte, tag valuestore.Tag, records valuestore.Records) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if tag > valuestore.MaxTag {
		return fmt.Errorf("tag %d is above %d: %w", tag, valuestore.MaxTag, fs.ErrInvalid)
	}
	pieces, err := split(records)
	if err != nil {
		return err
	}
	for _, p := range pieces {
		if err := s.queue.add(ctx, &operation{kind: kind, tag: tag, records: p}); err != nil {
			return err
		}
	}
	return nil
}

// split checks records and cuts them into pieces.
func split(records valuestore.Records) (pieces []valuestore.Records, err error) {
	start, at := 0, 0
	for e, err := range records.All() {
		if err != nil {
			return nil, err
		}
		next := at + recordSize(len(e.Value))
		if next-start > pieceSize {
			pieces = append(pieces, records[start:at:at])
			start = at
		}
		at = next
	}
	if start < len(records) {
		pieces = append(pieces, records[start:])
	}
	return pieces, nil
}

// Remove implements [valuestore.Store]. Tag 0 cannot be removed, it matches fs.ErrInvalid.
func (s *Store) Remove(ctx context.Context, tags ...valuestore.Tag) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, tag := range tags {
		if tag == 0 || tag > valuestore.MaxTag {
			return fmt.Errorf("segstore: remove: tag %d: %w", tag, fs.ErrInvalid)
		}
	}
	for part := range slices.Chunk(tags, pieceSize/10) {
		if err := s.queue.add(ctx, &operation{kind: opRemove, tags: part}); err != nil {
			return fmt.Errorf("segstore: remove: %w", err)
		}
	}
	return nil
}

func (q *queue) empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting) == 0
}
