package operate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/kv"
)

// A publisher is assigned to a node of several that share an index by its lease, and to a node that is
// alone by the rule that allows it, which decides if publishers must be listed.

// unassignable says why publishers are not assigned to this node.
func (o *Operator) unassignable() error {
	if o.n.Leases == nil && !o.n.Listed {
		return wire.Refuse(http.StatusNotImplemented, "publishers are assigned to nodes with ingest.publishers = \"listed\" or ipni.state alone")
	}
	return nil
}

// has reports whether a publisher is assigned to this node.
func (o *Operator) has(p *assign.Publisher) bool {
	return slices.Contains(p.Pinned, o.n.Member) ||
		slices.ContainsFunc(p.Leases, func(h assign.Held) bool { return h.Holder == o.n.Member })
}

func (o *Operator) assign(ctx context.Context, id peer.ID) error {
	if err := o.unassignable(); err != nil {
		return err
	}
	allowed, ruled := o.n.Ingester.Rules()[id]
	if ruled && !allowed {
		return fmt.Errorf("operate: assign %s: it is blocked: %w", id, fs.ErrPermission)
	}
	if o.n.Leases == nil && allowed {
		return fmt.Errorf("operate: assign %s: %w", id, fs.ErrExist)
	}
	if o.n.Leases != nil {
		p, err := o.n.Leases.Publisher(ctx, id)
		if err == nil && slices.Contains(p.Pinned, o.n.Member) {
			return fmt.Errorf("operate: assign %s: %w", id, fs.ErrExist)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := o.n.Leases.Assign(ctx, id, o.n.Member); err != nil {
			return err
		}
	}
	if !o.n.Listed {
		return nil
	}
	return o.n.Ingester.Allow(ctx, id)
}

func (o *Operator) unassign(ctx context.Context, id peer.ID) error {
	if err := o.unassignable(); err != nil {
		return err
	}
	if o.n.Leases != nil { // the rule is that of all nodes
		p, err := o.n.Leases.Publisher(ctx, id)
		if err == nil && !o.has(p) {
			err = fmt.Errorf("operate: unassign %s: %w", id, fs.ErrNotExist)
		}
		if err != nil {
			return err
		}
		return o.n.Leases.Unassign(ctx, id, o.n.Member)
	}
	if !o.n.Ingester.Rules()[id] {
		return fmt.Errorf("operate: unassign %s: %w", id, fs.ErrNotExist)
	}
	if err := o.n.Ingester.Unlist(ctx, id); err != nil {
		return err
	}
	return o.rows.Batch(ctx, []kv.Op{state.PutContinued(id, "")})
}

func (o *Operator) assigned(ctx context.Context) ([]ingesthttp.Assignment, error) {
	ids, err := o.publishers(ctx, o.has, func(allowed, _ bool) bool { return allowed })
	if err != nil {
		return nil, err
	}
	all := make([]ingesthttp.Assignment, len(ids))
	for i, id := range ids {
		all[i].Publisher = id
		if all[i].Continued, err = o.rows.Continued(ctx, id); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// preferred returns publishers that are not assigned and of which this node has data.
func (o *Operator) preferred(ctx context.Context) ([]peer.ID, error) {
	prefers := func(p *assign.Publisher) bool { return !o.has(p) && slices.Contains(p.Preferred, o.n.Member) }
	return o.publishers(ctx, prefers, func(_, read bool) bool { return read })
}

// publishers returns those for which lease says so if nodes share them; else rule, by whether a publisher
// is allowed, or without a rule and partly read.
func (o *Operator) publishers(ctx context.Context, lease func(*assign.Publisher) bool, rule func(allowed, read bool) bool) ([]peer.ID, error) {
	if err := o.unassignable(); err != nil {
		return nil, err
	}
	var all []peer.ID
	if o.n.Leases != nil {
		for p, err := range o.n.Leases.All(ctx) {
			if err != nil {
				return nil, err
			}
			if lease(p) {
				all = append(all, p.ID)
			}
		}
		return sorted(all), nil
	}
	rules := o.n.Ingester.Rules()
	for id, allowed := range rules {
		if rule(allowed, false) {
			all = append(all, id)
		}
	}
	statuses, err := o.n.Ingester.Statuses(ctx)
	if err != nil {
		return nil, err
	}
	for _, st := range statuses {
		if _, ruled := rules[st.Publisher.ID]; !ruled && rule(false, st.Ads > 0) {
			all = append(all, st.Publisher.ID)
		}
	}
	return sorted(all), nil
}

func sorted(all []peer.ID) []peer.ID {
	slices.SortFunc(all, func(a, b peer.ID) int { return strings.Compare(string(a), string(b)) })
	return all
}

// handoff makes this node go on with a publisher where a frozen one stopped. What that one has
// stays there, and is found there. If it is not clear where it stopped, all of the chain is read.
func (o *Operator) handoff(ctx context.Context, publisher, frozen peer.ID, indexer *url.URL) error {
	if err := o.unassignable(); err != nil {
		return err
	}
	info, at, err := frozenAt(ctx, indexer, publisher)
	if err != nil {
		return err
	}
	if err := o.assign(ctx, publisher); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	_, err = o.n.Ingester.Status(ctx, publisher)
	if errors.Is(err, fs.ErrNotExist) && at.Defined() {
		err = o.n.Ingester.MarkProcessed(ctx, publisher, at)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := o.n.Follow(ctx, cid.Undef, info); err != nil {
		return errors.Join(err, o.unassign(ctx, publisher)) // another node will be asked
	}
	return o.rows.Batch(ctx, []kv.Op{state.PutContinued(publisher, frozen)})
}

// frozenAt asks an index how a publisher is reached, and where in its chain the index stopped;
// undefined if it stopped at several places.
func frozenAt(ctx context.Context, indexer *url.URL, publisher peer.ID) (info peer.AddrInfo, at cid.Cid, err error) {
	client, err := ipnihttp.NewClient(indexer.String(), nil)
	if err != nil {
		return info, at, err
	}
	defer client.Close()
	found, clear := false, true
	for p, err := range client.Providers(ctx) {
		if err != nil {
			return info, at, err
		}
		if p.Publisher == nil || p.Publisher.ID != publisher {
			continue
		}
		if !found {
			info, at = *p.Publisher, p.FrozenAt
		}
		clear = clear && at == p.FrozenAt
		found = true
	}
	if !found {
		return info, at, wire.Refuse(http.StatusNotFound, "the other index knows no publisher %s", publisher)
	}
	if !clear {
		at = cid.Undef
	}
	return info, at, nil
}
