package apply

import (
	"context"
	"errors"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// SetInactive writes ops, and with them tells those who look for a provider whether it answers, if it
// is known. What else is learned of it at once stays.
func (ap *Applier) SetInactive(ctx context.Context, provider peer.ID, inactive bool, ops []kv.Op) error {
	if ap.registry == nil {
		return ap.state.Batch(ctx, ops)
	}
	unlock, err := ap.changes.lock(ctx, provider)
	if err != nil {
		return err
	}
	defer unlock()
	p, err := ap.registry.Provider(ctx, provider)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, digest.ErrMismatch): // an advertisement will tell
	case err != nil:
		return err
	case p.Inactive != inactive:
		changes, err := ap.registry.Apply(ctx, registry.Change{Provider: provider, Inactive: &inactive})
		if err != nil {
			return err
		}
		ops = append(ops, changes...)
	}
	return ap.state.Batch(ctx, ops)
}
