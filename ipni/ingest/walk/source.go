package walk

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/attendance"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// source returns where the entries of advertisements of the publisher come from.
func (tn *turn) source(floor uint64) apply.Source {
	return apply.Source{
		Publisher: peer.AddrInfo{ID: tn.v.ID, Addrs: settings.ParseAddrs(tn.row.Addrs)}, Tag: tn.tag, Floor: floor, Start: tn.stream, Wait: tn.v.Wait,
		Read: func(multihashes uint64) bool {
			tn.pay(0, multihashes)
			return tn.yields()
		},
	}
}

// stream begins to fetch entries.
func (tn *turn) stream(ctx context.Context, left []cid.Cid, done entries.Count) (*entries.Stream, error) {
	chain, err := tn.chain(ctx)
	if err != nil {
		return nil, err
	}
	return entries.Start(ctx, left, done, tn.w.o.Entries, func(ctx context.Context, c cid.Cid) ([]byte, error) {
		return tn.w.fetch(ctx, chain, c, ipni.EntryChunk)
	}), nil
}

// begun is how far the entries of an advertisement are put.
type begun struct {
	state.Progress
	ad     cid.Cid
	before uint64 // blocks that were put before this turn
}

// begun returns how far the entries of an advertisement are put.
func (tn *turn) begun(ctx context.Context, c cid.Cid, anew bool) (*begun, error) {
	p, err := tn.w.state.Progress(ctx, tn.v.ID, c)
	if anew && errors.Is(err, digest.ErrMismatch) {
		p, err = state.Progress{}, nil
	}
	return &begun{p, c, p.Blocks}, apply.Grave(err)
}

// keep writes how far entries are put, also if the turn was given up.
func (tn *turn) keep(ctx context.Context, b *begun) error {
	if b.Blocks == b.before || tn.run.Err() != nil || attendance.Lost(ctx) {
		return nil
	}
	return apply.Grave(tn.w.state.Batch(tn.run, []kv.Op{state.PutProgress(tn.v.ID, b.ad, &b.Progress)}))
}

// end returns the writes for when work on the advertisement ends, for now if some are missing.
func (b *begun) end(id peer.ID, missing bool) []kv.Op {
	switch {
	case missing && b.Blocks > 0:
		return []kv.Op{state.PutProgress(id, b.ad, &b.Progress)}
	case b.before > 0:
		return []kv.Op{state.DropProgress(id, b.ad)}
	}
	return nil
}

// allowed reports whether the policy lets an advertisement be heeded.
func (tn *turn) allowed(a *ad.Ad) bool { return tn.w.lists.CheckAd(tn.v.ID, a) == nil }

// commit writes what becomes of an advertisement with more.
func (tn *turn) commit(ctx context.Context, it *item, src apply.Source, res apply.Result, more []kv.Op) error {
	return tn.w.applier.Commit(ctx, &it.Item, src, res, tn.lag(), func(row state.Ad) []kv.Op {
		tn.row.Count(it.CID, row)
		return append(more, state.PutPublisher(&tn.row))
	})
}

func (tn *turn) lag() uint64 { return state.Lag(tn.gaps) }
