package apply

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// change returns the writes for what is learned of the provider.
func (ap *Applier) change(ctx context.Context, it *Item, src Source, res Result, left uint64, now time.Time) ([]kv.Op, error) {
	a := it.Ad
	if ap.registry == nil {
		return nil, nil
	}
	lag, active := int(min(left, 1<<31)), false
	c := registry.Change{
		Provider: a.Provider, Order: it.Order, Addrs: ap.public(a.Addrs), Advertisement: a.CID, AdvertisementTime: now,
		Publisher: &src.Publisher, Lag: &lag, Failure: &registry.Failure{}, Inactive: &active, Anew: src.Anew,
	}
	if ap.o.Frozen() {
		c.Freeze = now
	} else {
		c.Frozen = &registry.Frozen{}
	}
	if res.Reason != "" && !res.Deferred && res.Status != state.Indexed {
		c.Failure = &registry.Failure{Text: res.Reason, Time: now}
	}
	var err error
	if c.Extended, err = ap.extended(ctx, a, res.gone, src.Anew); err != nil {
		return nil, Grave(err)
	}
	ops, err := ap.registry.Apply(ctx, c)
	if errors.Is(err, fs.ErrInvalid) { // what it says of its provider is no good; the rest holds
		ops, err = ap.registry.Apply(ctx, registry.Change{Provider: a.Provider, Anew: src.Anew, Failure: &registry.Failure{Text: err.Error(), Time: now}})
	}
	return ops, Grave(err)
}

// extended returns the extended providers that replace those of a context, or of the chain, nil if nothing
// changes. Those of a context go with it; gone tells that it was removed later.
func (ap *Applier) extended(ctx context.Context, a *ad.Ad, gone, anew bool) (*registry.Set, error) {
	set := &registry.Set{ContextID: string(a.ContextID)}
	switch x := a.Extended; {
	case a.Remove && set.ContextID != "":
		was, _, err := ap.registry.Extended(ctx, a.Provider, set.ContextID)
		if errors.Is(err, digest.ErrMismatch) { // a corrupt row is replaced when all is read anew
			if anew {
				return set, nil
			}
			return nil, nil
		}
		if err != nil || was == nil { // most have none, and no row that says so
			return nil, err
		}
	case x == nil || gone && set.ContextID != "":
		return nil, nil
	default:
		set.Override = x.Override
		for _, p := range x.Providers {
			e := registry.Extended{Metadata: p.Metadata}
			e.ID, e.Addrs = p.ID, ap.public(p.Addrs)
			set.Providers = append(set.Providers, e)
		}
	}
	return set, nil
}

// public returns the addresses that clients of this index can use.
func (ap *Applier) public(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	good, err := ap.lists.Addrs(addrs)
	if err != nil {
		return nil // there is none, which is for clients to see
	}
	return good
}
