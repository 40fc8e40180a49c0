package shard

import (
	"context"
	"fmt"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/hashstream/hashstream/ipni/cluster"
)

// Member is a node as operators see it.
type Member struct {
	ID         string   `json:"id"`
	URL        string   `json:"url"` // without credentials
	Roles      []string `json:"roles"`
	Self       bool     `json:"self"`       // the node that was asked
	Alive      bool     `json:"alive"`      // gave a sign of life of late
	Frozen     bool     `json:"frozen"`     // takes nothing new
	Draining   bool     `json:"draining"`   // hands over what it has
	Weight     int      `json:"weight"`     // share of the partitions
	Partitions int      `json:"partitions"` // copies that it has, of those that it is to drop too
	Ready      int      `json:"ready"`      // those that are in sync
	Only       int      `json:"only"`       // those of which it has the only copy in sync
	Publishers int      `json:"publishers"` // that it follows
}

// empty reports whether m has nothing that others lack.
func (m *Member) empty() bool { return m.Partitions == 0 && m.Publishers == 0 }

// errAlone is what a node answers that shares its index with nobody.
var errAlone = fmt.Errorf("this node is alone; nodes that share an index have the same ipni.state and an address at shard.listen: %w", fs.ErrInvalid)

// Members returns the nodes of the cluster in the order of their names.
func (sh *Shard) Members(ctx context.Context) ([]Member, error) {
	if sh.members == nil {
		return nil, errAlone
	}
	rows, err := cluster.NewTable(sh.o.State).Load(ctx)
	if err != nil {
		return nil, err
	}
	following := map[string]int{}
	for p, err := range sh.leases.All(ctx) {
		if err != nil {
			return nil, err
		}
		for _, l := range p.Leases {
			following[l.Holder]++
		}
	}
	list, err := sh.members.List(ctx)
	if err != nil {
		return nil, err
	}
	holdings := cluster.Holdings(rows)
	all := make([]Member, len(list))
	for i, m := range list {
		h := holdings[m.ID]
		all[i] = Member{
			ID: m.ID, URL: shown(m.URL), Roles: m.Roles, Self: m.ID == sh.name(), Alive: m.Alive, Frozen: m.Frozen, Draining: m.Draining, Weight: int(m.Weight),
			Partitions: h.Copies + h.Leaving, Ready: h.Ready, Only: h.Only, Publishers: following[m.ID],
		}
		if m.Weight == 0 {
			all[i].Weight = 100
		}
	}
	return all, nil
}

// member returns one of all, or an error that names them.
func member(all []Member, id string) (*Member, error) {
	if i := slices.IndexFunc(all, func(m Member) bool { return m.ID == id }); i >= 0 {
		return &all[i], nil
	}
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.ID
	}
	return nil, fmt.Errorf("%q is no member; the members are %s: %w", id, strings.Join(names, ", "), fs.ErrNotExist)
}

// Left says what the removal of a member cost.
type Left struct {
	Lost int `json:"lost"` // partitions whose only copy in sync is gone
}

// Leave removes a member that has handed over what it had, or that is dead and has nothing that
// others lack; with force any, and others take over at once.
func (sh *Shard) Leave(ctx context.Context, id string, force bool) (Left, error) {
	all, err := sh.Members(ctx)
	if err != nil {
		return Left{}, err
	}
	m, err := member(all, id)
	if err != nil {
		return Left{}, err
	}
	drained := m.Draining && m.empty()
	switch {
	case force || drained:
	case m.Alive:
		return Left{}, fmt.Errorf("%q is alive and has %d partitions and %d publishers; run 'ipni drain' there first, or wait until it is dead: %w", id, m.Partitions, m.Publishers, fs.ErrInvalid)
	case m.Only > 0:
		return Left{}, fmt.Errorf("%q has the only copy in sync of %d partitions; start it again, or lose them with --force: %w", id, m.Only, fs.ErrInvalid)
	}
	seen, err := sh.members.List(ctx)
	if err != nil {
		return Left{}, err
	}
	wanted := func(row cluster.Member) bool {
		same := slices.ContainsFunc(seen, func(s cluster.Status) bool {
			return s.ID == id && !s.Alive && s.Incarnation == row.Incarnation && s.Beat == row.Beat
		})
		return force || drained && row.Draining || same
	}
	if err := sh.members.Forget(ctx, id, wanted); err != nil {
		return Left{}, err
	}
	if !force {
		return Left{}, nil
	}
	lost, err := cluster.NewTable(sh.o.State).Abandon(ctx, id, seen)
	return Left{lost}, err
}

// Draining is how far this node has handed over what it has.
type Draining struct {
	Node       string `json:"node"`
	Draining   bool   `json:"draining"`
	Partitions int    `json:"partitions"`      // that are still here
	Publishers int    `json:"publishers"`      // that are still followed here
	Waits      string `json:"waits,omitempty"` // why that may not get less
	Done       bool   `json:"done"`            // the node drains, and nothing is left
}

// Drain makes this node hand over its partitions and publishers, or with undo take some again,
// and returns what is left. It may be called again to learn how far that is.
func (sh *Shard) Drain(ctx context.Context, undo bool) (Draining, error) {
	if sh.members == nil {
		return Draining{}, errAlone
	}
	session := sh.joined(ctx)
	all, err := sh.Members(ctx)
	if err != nil {
		return Draining{}, err
	}
	self, err := member(all, sh.name())
	if err != nil || session == nil {
		return Draining{}, fmt.Errorf("this node is not one of the members yet, or no more; start it again to join: %w", fs.ErrInvalid)
	}
	waits := heirs(all, self)
	if waits != "" && !undo && !self.Draining {
		return Draining{}, fmt.Errorf("%s; start one first: %w", waits, fs.ErrInvalid)
	}
	if self.Draining == undo {
		if err := session.Set(ctx, func(m *cluster.Member) { m.Draining = !undo }); err != nil {
			return Draining{}, err
		}
	}
	d := Draining{Node: self.ID, Draining: !undo, Partitions: self.Partitions, Publishers: self.Publishers}
	if d.Draining {
		d.Waits = waits
		d.Done = self.Draining && self.empty()
	}
	return d, nil
}

// joined returns the session of this node, for which it waits a while if the node has just been started; nil if
// there is none.
func (sh *Shard) joined(ctx context.Context) *cluster.Session {
	for range 100 {
		sh.mu.Lock()
		session := sh.session
		sh.mu.Unlock()
		if session != nil || ctx.Err() != nil {
			return session
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// heirs says who is missing that could take what a member has; "" if nobody is.
func heirs(all []Member, from *Member) string {
	takes := func(role string) bool {
		return slices.ContainsFunc(all, func(m Member) bool {
			return m.ID != from.ID && m.Alive && !m.Draining && slices.Contains(m.Roles, role)
		})
	}
	switch {
	case from.Partitions > 0 && !takes(cluster.RoleStore):
		return "no other node is there to take the partitions of this one"
	case from.Publishers > 0 && !takes(cluster.RoleIngest):
		return "no other node is there to follow the publishers of this one"
	}
	return ""
}

// shown returns a URL without what may be secret.
func shown(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "(redacted)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
