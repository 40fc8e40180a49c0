package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// Register stores the addresses that a provider says it has, and has signed: see
// [apply.Applier.Register]. Of the addresses those are kept that clients can use; that there are none,
// or that the provider is not allowed, matches fs.ErrPermission. The signature is for the caller to verify.
func (in *Ingester) Register(ctx context.Context, provider peer.AddrInfo, seq uint64) error {
	err := in.lists.Check(provider.ID)
	if err == nil {
		provider.Addrs, err = in.lists.Addrs(provider.Addrs)
	}
	if err == nil {
		err = in.applier.Register(ctx, provider, seq)
	}
	if err != nil {
		return fmt.Errorf("ingest: register %s: %w", provider.ID, err)
	}
	return nil
}

// MarkProcessed has an advertisement in the chain of a publisher count as processed without being read.
// The chain is read down to it, not including, and what is older is not read, unless it was
// before.
func (in *Ingester) MarkProcessed(ctx context.Context, publisher peer.ID, c cid.Cid) error {
	if err := in.markProcessed(ctx, publisher, c); err != nil {
		return fmt.Errorf("ingest: mark %s of %s: %w", c, publisher, err)
	}
	return nil
}

func (in *Ingester) markProcessed(ctx context.Context, publisher peer.ID, c cid.Cid) error {
	if !c.Defined() || publisher.Validate() != nil {
		return errors.New("no publisher, or no advertisement")
	}
	tag := state.TagOf(publisher)
	row, err := in.state.AdOf(ctx, tag, c)
	if err != nil || row.Done() {
		return err
	}
	// The least order belongs to no gap, which ends all gaps here, and is older than all else.
	row = state.Ad{Status: state.Indexed, Tag: tag, Order: 1, At: time.Now(), Reason: "marked as processed"}
	if err := in.state.Batch(ctx, []kv.Op{state.PutAd(c, row)}); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if t, ok := in.tasks[publisher]; ok { // which may have been stuck at it
		t.due = settings.Earlier(t.due, time.Now())
		in.notify()
	}
	return nil
}
