package shard

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Request is what a command asks of the nodes that share an index.
type Request struct {
	Op    string `json:"op"`
	Peer  string `json:"peer,omitempty"`  // for OpAssign: a publisher; empty is all
	Node  string `json:"node,omitempty"`  // for OpAssign and OpLeave: a member
	How   string `json:"how,omitempty"`   // for OpAssign: [Pin], [Bar] or [Free]; empty lists
	Undo  bool   `json:"undo,omitempty"`  // for OpDrain
	Force bool   `json:"force,omitempty"` // for OpLeave: whatever is lost
}

// The operations.
const (
	OpMembers = "members" // answers a [Member] each
	OpAssign  = "assign"  // answers a [Publisher] each
	OpDrain   = "drain"   // answers a [Draining]
	OpLeave   = "leave"   // answers a [Left]
)

// Do does what r asks and returns the answer.
func (sh *Shard) Do(ctx context.Context, r Request) (any, error) {
	switch {
	case r.Op == OpMembers:
		return sh.Members(ctx)
	case r.Op == OpDrain:
		return sh.Drain(ctx, r.Undo)
	case r.Op == OpLeave:
		return sh.Leave(ctx, r.Node, r.Force)
	case r.Op != OpAssign:
		return nil, fmt.Errorf("shard: operation %q: %w", r.Op, fs.ErrInvalid)
	case r.Peer == "":
		return sh.Assignments(ctx, "")
	}
	id, err := peer.Decode(r.Peer)
	if err != nil {
		return nil, fmt.Errorf("shard: peer %q: %w: %w", r.Peer, fs.ErrInvalid, err)
	}
	if r.How == "" {
		return sh.Assignments(ctx, id)
	}
	return sh.Assign(ctx, id, r.Node, r.How)
}
