package apply

import (
	"context"
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/registry"
)

// NoteFrozen notes of each provider whose publisher is one of ours where this node stopped to take entries,
// or that it takes them again. Those that are noted already are as they are.
func (ap *Applier) NoteFrozen(ctx context.Context, frozen bool, ours func(publisher peer.ID) bool) error {
	if ap.registry == nil {
		return nil
	}
	now := time.Now()
	for p, err := range ap.registry.Providers(ctx) {
		if errors.Is(err, digest.ErrMismatch) {
			continue // its publisher tells
		}
		if err != nil {
			return err
		}
		if p.FrozenAtTime.IsZero() == !frozen || !ours(p.Publisher.ID) {
			continue
		}
		c := registry.Change{Provider: p.ID}
		if frozen {
			c.Freeze = now
		} else {
			c.Frozen = &registry.Frozen{}
		}
		if err := ap.changeRow(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// changeRow makes a change that no advertisement is the cause of.
func (ap *Applier) changeRow(ctx context.Context, c registry.Change) error {
	unlock, err := ap.changes.lock(ctx, c.Provider)
	if err != nil {
		return err
	}
	defer unlock()
	ops, err := ap.registry.Apply(ctx, c)
	if err == nil {
		err = ap.state.Batch(ctx, ops)
	}
	return err
}
