package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// Lease is the right to adapt the table, which one member has at a time. It saves
// work: two who adapt at once do no harm, because each row is changed atomically.
type Lease struct {
	store kv.Store
	ttl   time.Duration

	mu   sync.Mutex
	seen lease
	at   time.Time // when it was first seen
}

// lease is its row.
type lease struct {
	Holder string `json:"holder"`
	Term   uint64 `json:"term"` // grows when the holder says that it is there
}

func (l *lease) check() error { return CheckID(l.Holder) }

// NewLease returns the lease whose row is in store.
func NewLease(store kv.Store, timing Timing) *Lease {
	return &Lease{store: store, ttl: timing.WithDefaults().TTL}
}

// Hold takes the lease for a member, or keeps it, and reports whether the member has it now.
// It is free when its row has stood still for a TTL.
func (l *Lease) Hold(ctx context.Context, id string) (bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := false
	err := update(ctx, l.store, leaseKey, func(row *lease, exists bool) (bool, error) {
		if *row != l.seen || l.at.IsZero() {
			l.seen, l.at = *row, time.Now()
		}
		held = !exists || row.Holder == id || time.Since(l.at) >= l.ttl
		*row = lease{id, row.Term + 1}
		return held, nil
	})
	if err != nil {
		return false, fmt.Errorf("cluster: lease: %w", err)
	}
	return held, nil
}
