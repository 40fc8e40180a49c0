package apply

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
)

// Register replaces the addresses of a provider by those of a record that it signed, whose sequence
// number must be greater than that of the one before; else the error matches fs.ErrInvalid. They
// count like those of an advertisement that is met now: what is newer replaces them, what is older does not.
func (ap *Applier) Register(ctx context.Context, provider peer.AddrInfo, seq uint64) error {
	unlock, err := ap.changes.lock(ctx, provider.ID)
	if err != nil {
		return err
	}
	defer unlock()
	last, err := ap.state.Signed(ctx, provider.ID)
	if err != nil {
		return err
	}
	if seq <= last {
		return fmt.Errorf("sequence number %d is not above %d: %w", seq, last, fs.ErrInvalid)
	}
	order, err := ap.state.NextSeq(ctx)
	if err != nil {
		return err
	}
	ops, err := ap.registry.Apply(ctx, registry.Change{Provider: provider.ID, Order: order << 32, Addrs: provider.Addrs})
	if err != nil {
		return err
	}
	return ap.state.Batch(ctx, append(ops, state.PutSigned(provider.ID, seq)))
}
