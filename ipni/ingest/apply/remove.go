package apply

import (
	"context"
	"errors"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// groupRemover is a sink that can remove all groups of a provider at once.
type groupRemover interface {
	RemoveSealed(ctx context.Context, provider ipni.ProviderTag, context *dhash.MetadataKey, before uint64) error
}

// RemoveProvider removes all that is known of a provider. What it advertised until now is
// not added again; what it advertises from now on is.
func (ap *Applier) RemoveProvider(ctx context.Context, provider peer.ID) error {
	if err := provider.Validate(); err != nil {
		return err
	}
	seq, err := ap.state.NextSeq(ctx)
	if err != nil {
		return err
	}
	order := seq << 32
	if err := ap.setRemoved(ctx, provider, order); err != nil {
		return err
	}
	if s, ok := ap.sink.(groupRemover); ok {
		if err := s.RemoveSealed(ctx, ipni.TagProvider(provider), nil, order); err != nil {
			return err
		}
	}
	for c, err := range ap.state.Contexts(ctx, provider) {
		if err != nil {
			return err
		}
		if err := ap.removeContext(ctx, c, order); err != nil {
			return err
		}
	}
	return nil
}

// setRemoved notes that a provider is removed, and drops its record. Who commits from then on sees it,
// and removes what it put, or is newer, and has a record that stays.
func (ap *Applier) setRemoved(ctx context.Context, provider peer.ID, order uint64) error {
	unlock, err := ap.changes.lock(ctx, provider)
	if err != nil {
		return err
	}
	defer unlock()
	if err := ap.state.SetRemoved(ctx, provider, order); err != nil || ap.registry == nil {
		return err
	}
	ops, err := registry.Remove(provider)
	if err != nil {
		return err
	}
	return ap.state.Batch(ctx, ops)
}

// removeContext removes what is known of a context before an order.
func (ap *Applier) removeContext(ctx context.Context, c ipni.Context, order uint64) error {
	unlock, err := ap.contexts.lock(ctx, c)
	if err != nil {
		return err
	}
	defer unlock()
	return ap.forget(ctx, c, order)
}

// forget is removeContext for a context that is locked.
func (ap *Applier) forget(ctx context.Context, c ipni.Context, order uint64) error {
	if err := ap.sink.Remove(ctx, c, order); err != nil {
		return err
	}
	st, err := ap.state.Context(ctx, c)
	if err != nil && !errors.Is(err, digest.ErrMismatch) { // a corrupt one goes with the rest
		return err
	}
	if st.MetadataAt < order {
		if err := ap.sink.PutMetadata(ctx, c, nil); err != nil {
			return err
		}
	}
	if max(st.MetadataAt, st.Epoch) > order { // it was advertised anew meanwhile
		return nil
	}
	return ap.state.Batch(ctx, []kv.Op{state.DropContext(c)})
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
