package keep

import (
	"context"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/node"
)

// release lifts the quarantine of all blocks at loc.
func release(ctx context.Context, s *node.Stores, loc index.Location) error {
	for bad, err := range s.Index.Quarantines(ctx) {
		if err == nil && bad.Location == loc {
			err = index.Release(ctx, s.KV, bad.Digest, loc)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes what the index knows of loc.
func forget(ctx context.Context, s *node.Stores, loc index.Location) error {
	if err := release(ctx, s, loc); err != nil {
		return err
	}
	return index.RemoveLocation(ctx, s.KV, loc)
}
