package apply

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/multiformats/go-multiaddr"

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
	if x := a.Extended; x != nil {
		c.Extended = &registry.Set{ContextID: string(a.ContextID), Override: x.Override}
		for _, p := range x.Providers {
			e := registry.Extended{Metadata: p.Metadata}
			e.ID, e.Addrs = p.ID, ap.public(p.Addrs)
			c.Extended.Providers = append(c.Extended.Providers, e)
		}
	}
	ops, err := ap.registry.Apply(ctx, c)
	if errors.Is(err, fs.ErrInvalid) { // what it says of its provider is no good; the rest holds
		ops, err = ap.registry.Apply(ctx, registry.Change{Provider: a.Provider, Anew: src.Anew, Failure: &registry.Failure{Text: err.Error(), Time: now}})
	}
	return ops, Grave(err)
}

// public returns the addresses that clients of this index can use.
func (ap *Applier) public(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	good, err := ap.lists.Addrs(addrs)
	if err != nil {
		return nil // there is none, which is for clients to see
	}
	return good
}
