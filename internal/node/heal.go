package node

import (
	"context"
	"fmt"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
)

// healing is a pack store in which a damaged pack is replaced when the same pack
// is written again: adding content once more repairs it.
type healing struct {
	blob.Drafter
	stores *Stores
}

func (h healing) Draft(ctx context.Context) (blob.Draft, error) {
	d, err := h.Drafter.Draft(ctx)
	if err != nil {
		return nil, err
	}
	return healingDraft{d, h.stores}, nil
}

type healingDraft struct {
	blob.Draft
	stores *Stores
}

// Commit implements [blob.Draft]. A store keeps what it has under a key, so what is
// damaged goes first.
func (d healingDraft) Commit(ctx context.Context, key string) error {
	bad, loc, err := d.stores.damaged(ctx, key)
	if err != nil {
		return err
	}
	if len(bad) > 0 {
		if err := d.stores.Packs.Delete(ctx, key); err != nil {
			return err
		}
	}
	if err := d.Draft.Commit(ctx, key); err != nil {
		return err
	}
	for _, b := range bad {
		if err := index.Release(ctx, d.stores.KV, b, loc); err != nil {
			return fmt.Errorf("node: release %s: %w", b, err)
		}
	}
	return nil
}

// damaged lists the blocks in quarantine of the pack that key names.
func (s *Stores) damaged(ctx context.Context, key string) (bad []digest.Digest, loc index.Location, err error) {
	for b, err := range s.Index.Quarantines(ctx) {
		if err != nil {
			return nil, loc, fmt.Errorf("node: %w", err)
		}
		if !b.Location.Pack.IsZero() && pack.Key(b.Location.Pack) == key {
			bad, loc = append(bad, b.Digest), b.Location
		}
	}
	return bad, loc, nil
}
