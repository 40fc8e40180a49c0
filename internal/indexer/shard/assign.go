package shard

import (
	"context"
	"fmt"
	"io/fs"
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
)

// Publisher is who follows a publisher, and who is to. All lists are of members' names.
type Publisher struct {
	ID        string   `json:"publisher"`
	Followers []string `json:"followers"`
	Pinned    []string `json:"pinned"`    // to follow it whatever else they do
	Barred    []string `json:"barred"`    // never to follow it
	Preferred []string `json:"preferred"` // to go first
}

// The ways to assign a publisher to a node.
const (
	Pin  = "pin"  // it follows, whatever else it does
	Bar  = "bar"  // it does not
	Free = "free" // neither
)

// Assignments returns all publishers, or one unless only is empty.
func (sh *Shard) Assignments(ctx context.Context, only peer.ID) ([]Publisher, error) {
	if sh.leases == nil {
		return nil, errAlone
	}
	list := []Publisher{}
	if only != "" {
		p, err := sh.leases.Publisher(ctx, only)
		if err != nil {
			return nil, err
		}
		return append(list, assignment(p)), nil
	}
	for p, err := range sh.leases.All(ctx) {
		if err != nil {
			return nil, err
		}
		list = append(list, assignment(p))
	}
	return list, nil
}

func assignment(p *assign.Publisher) Publisher {
	list := func(ids []string) []string { return append([]string{}, ids...) }
	a := Publisher{ID: p.ID.String(), Followers: []string{}, Pinned: list(p.Pinned), Barred: list(p.Barred), Preferred: list(p.Preferred)}
	for _, l := range p.Leases {
		a.Followers = append(a.Followers, l.Holder)
	}
	return a
}

// Assign pins, bars or frees a member for a publisher, and returns what is known of this then. Members that are
// gone can be freed only.
func (sh *Shard) Assign(ctx context.Context, publisher peer.ID, node, how string) ([]Publisher, error) {
	all, err := sh.Members(ctx)
	if err != nil {
		return nil, err
	}
	m, err := member(all, node)
	switch {
	case how == Free:
		err = sh.leases.Free(ctx, publisher, node)
	case err != nil:
	case how == Pin && !slices.Contains(m.Roles, cluster.RoleIngest):
		err = fmt.Errorf("%q follows no publishers; start it with the role %q in ipni.roles: %w", node, cluster.RoleIngest, fs.ErrInvalid)
	case how == Pin:
		err = sh.leases.Assign(ctx, publisher, node)
	case how == Bar:
		err = sh.leases.Unassign(ctx, publisher, node)
	default:
		err = fmt.Errorf("assign: %q: %w", how, fs.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return sh.Assignments(ctx, publisher)
}
