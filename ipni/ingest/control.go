package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// Freeze makes the node take no more multihashes, until Unfreeze. Removals, metadata
// and addresses are still processed.
func (in *Ingester) Freeze(ctx context.Context) error { return in.setFrozen(ctx, true) }

// Unfreeze ends what Freeze began. What was left out is then fetched, without reading
// the chains again.
func (in *Ingester) Unfreeze(ctx context.Context) error { return in.setFrozen(ctx, false) }

func (in *Ingester) setFrozen(ctx context.Context, frozen bool) error {
	in.freezing.Lock()
	defer in.freezing.Unlock()
	if err := in.state.Batch(ctx, []kv.Op{state.PutFrozen(frozen)}); err != nil {
		return fmt.Errorf("ingest: freeze: %w", err)
	}
	in.mu.Lock()
	in.frozen = frozen
	in.stir()
	in.mu.Unlock()
	if err := in.noteFrozen(ctx); err != nil {
		return fmt.Errorf("ingest: note where it froze: %w", err)
	}
	return nil
}

// loadFrozen reads whether an operator froze the node, perhaps by another one.
func (in *Ingester) loadFrozen(ctx context.Context) error {
	in.freezing.Lock()
	defer in.freezing.Unlock()
	frozen, err := in.state.Frozen(ctx)
	if err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.frozen = frozen
	return nil
}

// noteFrozen has the registry tell where the node stopped to take entries, if that changed. in.freezing is held.
func (in *Ingester) noteFrozen(ctx context.Context) error {
	frozen := in.Frozen()
	if in.noted != nil && *in.noted == frozen {
		return nil
	}
	err := in.applier.NoteFrozen(ctx, frozen, in.o.Owns)
	if err == nil {
		in.noted = &frozen
	}
	return err
}

// Frozen reports whether the node takes no multihashes.
func (in *Ingester) Frozen() bool {
	in.mu.Lock()
	frozen := in.frozen
	in.mu.Unlock()
	return frozen || in.o.Frozen()
}

// stir lets all publishers have a turn, as something changed; in.mu is held.
func (in *Ingester) stir() {
	now := time.Now()
	for _, t := range in.tasks {
		t.due = settings.Earlier(t.due, now)
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

// Lists returns the rules that the Ingester goes by.
func (in *Ingester) Lists() *policy.Lists { return in.lists }

// Allowed returns an error that matches fs.ErrPermission if a peer may not publish.
func (in *Ingester) Allowed(id peer.ID) error { return in.lists.Check(id) }

// Remove removes all that is known of a provider. What it advertised until now is not
// added again, even if it is read later; what it advertises from now on is. That rows of it
// are corrupt is no obstacle: if it is a publisher whose own rows are, they go, too.
func (in *Ingester) Remove(ctx context.Context, provider peer.ID) error {
	err := in.applier.RemoveProvider(ctx, provider)
	if err == nil {
		err = in.dropDamaged(ctx, provider)
	}
	if err != nil {
		return fmt.Errorf("ingest: remove provider %s: %w", provider, err)
	}
	return nil
}

// dropDamaged forgets a publisher with corrupt rows, until it is announced again.
func (in *Ingester) dropDamaged(ctx context.Context, publisher peer.ID) error {
	p, err := in.state.Publisher(ctx, publisher)
	if err == nil {
		_, _, _, err = in.walker.Gaps(ctx, publisher)
	}
	if err == nil && !p.Damaged {
		return nil
	}
	if err != nil && !errors.Is(err, digest.ErrMismatch) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return in.state.Batch(ctx, state.DropPublisher(publisher))
}

// Restore takes a removal back as far as it holds for what is read later. What was
// removed comes back by [Ingester.Resync].
func (in *Ingester) Restore(ctx context.Context, provider peer.ID) error {
	if err := in.state.Batch(ctx, []kv.Op{state.DropRemoved(provider)}); err != nil {
		return fmt.Errorf("ingest: restore provider %s: %w", provider, err)
	}
	return nil
}
