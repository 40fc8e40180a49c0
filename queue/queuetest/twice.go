package queuetest

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/hashstream/hashstream/queue"
)

// Twice returns a queue that delivers everything more than once, as a queue may that
// loses acknowledgements: each message is there twice from the start, and each of
// the two comes back once after it was done. All that share q must share the result.
func Twice(q queue.Queue) queue.Queue {
	return &twice{Queue: q, done: map[[32]byte]int{}}
}

type twice struct {
	queue.Queue

	mu   sync.Mutex
	done map[[32]byte]int // how often messages with the body were done
}

func (q *twice) Send(ctx context.Context, body []byte) error {
	if err := q.Queue.Send(ctx, body); err != nil {
		return err
	}
	return q.Queue.Send(ctx, body)
}

func (q *twice) Receive(ctx context.Context) (queue.Message, error) {
	m, err := q.Queue.Receive(ctx)
	if err == nil {
		m.Lease = &again{Lease: m.Lease, q: q, sum: sha256.Sum256(m.Body)}
	}
	return m, err
}

// again is a lease whose end the queue forgets at first.
type again struct {
	queue.Lease
	q   *twice
	sum [32]byte
}

func (l *again) Done(ctx context.Context) error {
	l.q.mu.Lock()
	l.q.done[l.sum]++
	forget := l.q.done[l.sum] <= 2
	l.q.mu.Unlock()
	if forget {
		return l.Lease.Release(ctx, time.Millisecond)
	}
	return l.Lease.Done(ctx)
}
