package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// Freeze makes the node take no more multihashes, until Unfreeze. Removals, metadata
// and addresses are still processed.
func (in *Ingester) Freeze(ctx context.Context) error { return in.setFrozen(ctx, true) }

// Unfreeze ends what Freeze began. What was left out is then fetched, without reading
// the chains again.
func (in *Ingester) Unfreeze(ctx context.Context) error { return in.setFrozen(ctx, false) }

func (in *Ingester) setFrozen(ctx context.Context, frozen bool) error {
	if err := in.state.Batch(ctx, []kv.Op{state.PutFrozen(frozen)}); err != nil {
		return fmt.Errorf("ingest: freeze: %w", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.frozen = frozen
	in.stir()
	return nil
}

// Frozen reports whether the node takes no multihashes.
func (in *Ingester) Frozen() bool { return in.isFrozen() }

func (in *Ingester) isFrozen() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.frozenNow()
}

// frozenNow is isFrozen; in.mu is held.
func (in *Ingester) frozenNow() bool { return in.frozen || in.o.Frozen() }

// stir lets all publishers have a turn, as something changed; in.mu is held.
func (in *Ingester) stir() {
	now := time.Now()
	for _, t := range in.tasks {
		t.due = earlier(t.due, now)
	}
	in.notify()
}

// Allow lets a peer publish and provide.
func (in *Ingester) Allow(ctx context.Context, id peer.ID) error {
	if err := in.lists.Set(ctx, id, true); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if t, ok := in.tasks[id]; ok {
		t.headAt, t.due = time.Now(), time.Now()
		in.notify()
	}
	return nil
}

// Block keeps a peer from publishing and providing. What is known of it stays: see
// [Ingester.Remove].
func (in *Ingester) Block(ctx context.Context, id peer.ID) error {
	return in.lists.Set(ctx, id, false)
}

// Unlist lets the default decide about a peer.
func (in *Ingester) Unlist(ctx context.Context, id peer.ID) error { return in.lists.Unset(ctx, id) }

// Rules returns the peers that are allowed or blocked.
func (in *Ingester) Rules() map[peer.ID]bool { return in.lists.Rules() }

// Allowed returns an error that matches fs.ErrPermission if a peer may not publish.
func (in *Ingester) Allowed(id peer.ID) error { return in.lists.Check(id) }

// Remove removes all that is known of a provider. What it advertised until now is not
// added again, even if it is read later; what it advertises from now on is.
func (in *Ingester) Remove(ctx context.Context, provider peer.ID) error {
	if err := in.remove(ctx, provider); err != nil {
		return fmt.Errorf("ingest: remove provider %s: %w", provider, err)
	}
	return nil
}

func (in *Ingester) remove(ctx context.Context, provider peer.ID) error {
	if err := provider.Validate(); err != nil {
		return err
	}
	seq, err := in.state.NextSeq(ctx)
	if err != nil {
		return err
	}
	order := seq << 32
	unlock, err := in.changes.lock(ctx, provider)
	if err != nil {
		return err
	}
	err = in.state.SetRemoved(ctx, provider, order)
	unlock() // who commits from now on sees it, and removes what it put
	if err != nil {
		return err
	}
	if s, ok := in.sink.(groupRemover); ok {
		if err := s.RemoveSealed(ctx, ipni.TagProvider(provider), nil, order); err != nil {
			return err
		}
	}
	for c, err := range in.state.Contexts(ctx, provider) {
		if err != nil {
			return err
		}
		if err := in.removeContext(ctx, c, order); err != nil {
			return err
		}
	}
	if in.registry == nil {
		return nil
	}
	ops, err := registry.Remove(provider)
	if err == nil {
		err = in.state.Batch(ctx, ops)
	}
	return err
}

// removeContext removes what is known of a context before an order.
func (in *Ingester) removeContext(ctx context.Context, c ipni.Context, order uint64) error {
	unlock, err := in.contexts.lock(ctx, c)
	if err != nil {
		return err
	}
	defer unlock()
	if err := in.sink.Remove(ctx, c, order); err != nil {
		return err
	}
	st, err := in.state.Context(ctx, c)
	if err != nil {
		return err
	}
	if st.MetadataAt < order {
		if err := in.sink.PutMetadata(ctx, c, nil); err != nil {
			return err
		}
	}
	if max(st.MetadataAt, st.Epoch) > order { // it was advertised anew meanwhile
		return nil
	}
	return in.state.Batch(ctx, []kv.Op{state.DropContext(c)})
}

// Restore takes a removal back as far as it holds for what is read later. What was
// removed comes back by [Ingester.Resync].
func (in *Ingester) Restore(ctx context.Context, provider peer.ID) error {
	if err := in.state.Batch(ctx, []kv.Op{state.DropRemoved(provider)}); err != nil {
		return fmt.Errorf("ingest: restore provider %s: %w", provider, err)
	}
	return nil
}
