package shard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/assign"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// follow has the publishers that are known followed by somebody.
func (sh *Shard) follow(ctx context.Context, follower Follower) error {
	all, err := follower.Statuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range all {
		if err := sh.leases.Add(ctx, st.Publisher.ID); err != nil {
			return err
		}
	}
	return nil
}

// Owns reports whether this node holds the lease of a publisher.
func (sh *Shard) Owns(id peer.ID) bool {
	if sh.router == nil {
		return true
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.held[id]
}

// work follows a publisher until its lease is lost or wanted elsewhere.
func (sh *Shard) work(ctx context.Context, l *assign.Lease, follower Follower) {
	sh.hold(l.Publisher, true)
	publisher := peer.AddrInfo{ID: l.Publisher}
	if st, err := follower.Status(ctx, l.Publisher); err == nil {
		publisher = st.Publisher
	}
	if len(publisher.Addrs) > 0 || sh.o.Unaddressed {
		if err := follower.Announce(ctx, cid.Undef, publisher); err != nil {
			sh.o.Log.Warn("publisher", "publisher", l.Publisher.String(), "error", err)
		}
	}
	select {
	case <-ctx.Done():
	case <-l.Yield().Done():
	}
	sh.hold(l.Publisher, false)
	// Who comes next must not begin before the turn here has ended.
	for ctx.Err() == nil {
		st, err := follower.Status(ctx, l.Publisher)
		if err != nil || !st.Active {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (sh *Shard) hold(id peer.ID, yes bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if yes {
		sh.held[id] = true
	} else {
		delete(sh.held, id)
	}
}

// handTime is how long an announcement waits for somebody to follow its publisher.
const handTime = 15 * time.Second

// Announce tells the node that follows a publisher that there is something new: this one, if
// follower takes it, or another.
func (sh *Shard) Announce(ctx context.Context, follower Follower, ad cid.Cid, publisher peer.AddrInfo) error {
	err := follower.Announce(ctx, ad, publisher)
	if !errors.Is(err, ingest.ErrElsewhere) {
		return err
	}
	if err := sh.leases.Add(ctx, publisher.ID); err != nil || len(publisher.Addrs) == 0 {
		return err // without an address there is nothing to tell: who gets the lease knows where the chain is
	}
	ctx, cancel := context.WithTimeout(ctx, handTime)
	defer cancel()
	for {
		if err = sh.pass(ctx, follower, ad, publisher); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", wire.ErrBusy, err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// pass gives an announcement to who holds the lease.
func (sh *Shard) pass(ctx context.Context, follower Follower, ad cid.Cid, publisher peer.AddrInfo) error {
	row, err := sh.leases.Publisher(ctx, publisher.ID)
	if err != nil {
		return err
	}
	members, err := sh.members.List(ctx)
	if err != nil {
		return err
	}
	err = fmt.Errorf("shard: nobody follows %s yet", publisher.ID)
	for _, lease := range row.Leases {
		for _, m := range members {
			switch {
			case m.ID != lease.Holder:
			case m.ID == sh.name():
				return follower.Announce(ctx, ad, publisher)
			default:
				return sh.announceTo(ctx, m.Member, ad, publisher)
			}
		}
	}
	return err
}

func (sh *Shard) announceTo(ctx context.Context, m cluster.Member, ad cid.Cid, publisher peer.AddrInfo) error {
	a, err := ingesthttp.NewAnnouncer([]string{m.URL}, &ingesthttp.AnnouncerOptions{CallerOptions: wire.CallerOptions{Header: sh.credentials(m.ID)}})
	if err != nil {
		return err
	}
	defer a.Close()
	return a.Announce(ctx, ad, publisher)
}
