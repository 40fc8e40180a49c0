package indexer

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"
)

// together does what concerns the nodes that share an index.
func (s *Service) together(ctx context.Context, r Request) (any, error) {
	switch {
	case r.Op == OpMembers:
		return s.shard.Members(ctx)
	case r.Op == OpDrain:
		return s.shard.Drain(ctx, r.Undo)
	case r.Op == OpLeave:
		return s.shard.Leave(ctx, r.Node, r.Force)
	case r.Peer == "":
		return s.shard.Assignments(ctx, "")
	}
	id, err := peer.Decode(r.Peer)
	if err != nil {
		return nil, fmt.Errorf("indexer: peer %q: %w: %w", r.Peer, fs.ErrInvalid, err)
	}
	if r.How == "" {
		return s.shard.Assignments(ctx, id)
	}
	return s.shard.Assign(ctx, id, r.Node, r.How)
}
