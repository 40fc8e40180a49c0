package walk

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// clear forgets how far the chain of the publisher is read, as rows that tell it are corrupt. Then all of
// it is read as if for the first time, with new orders. What was put before stays beside it.
func (tn *turn) clear(ctx context.Context) error {
	row := state.Publisher{ID: tn.v.ID, Damaged: true, WantedAt: tn.row.WantedAt, ContactAt: tn.row.ContactAt}
	if row.Addrs = tn.row.Addrs; tn.unread {
		row.Addrs = settings.AddrBytes(tn.w.Addrs(ctx, tn.v.ID))
	}
	ops := append(state.DropPublisher(tn.v.ID), state.PutPublisher(&row))
	if err := tn.w.state.Batch(ctx, ops); err != nil {
		return apply.Grave(fmt.Errorf("begin anew: %w", err))
	}
	tn.v.segment, tn.row, tn.gaps, tn.unread, tn.anew = nil, row, nil, false, true
	return tn.loadRetries(ctx)
}

// Addrs returns where a publisher was that advertises for itself, as the registry knows it.
func (w *Walker) Addrs(ctx context.Context, id peer.ID) []multiaddr.Multiaddr {
	if w.registry == nil {
		return nil
	}
	p, err := w.registry.Provider(ctx, id)
	if err != nil || p.Publisher.ID != id {
		return nil // the operator knows better
	}
	return p.Publisher.Addrs
}
