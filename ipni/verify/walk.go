package verify

import (
	"context"
	"fmt"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
)

// ahead is how many advertisements are fetched before they are checked.
const ahead = 4

// item is an advertisement of the chain.
type item struct {
	cid cid.Cid
	ad  *ad.Ad // nil if it is bad
	end error  // why there is no advertisement, and none after it
}

// run fetches advertisements beside checking them.
func (w *walker) run(ctx context.Context, publisher peer.ID) error {
	row, err := w.state.Publisher(ctx, publisher)
	if err != nil {
		return err
	}
	jumps, err := w.unprocessed(ctx, publisher)
	if err != nil {
		return err
	}
	items := make(chan item, ahead)
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		defer close(items)
		return w.fetchAll(ctx, row.Head, jumps, items)
	})
	work.Go(func() error {
		for it := range items {
			if err := w.visit(ctx, it); err != nil {
				return err
			}
		}
		return nil
	})
	return work.Wait()
}

// unprocessed returns where the parts of the chain begin that ingestion has not read yet, and
// what comes below them.
func (w *walker) unprocessed(ctx context.Context, publisher peer.ID) (map[cid.Cid]cid.Cid, error) {
	gaps, err := w.state.Gaps(ctx, publisher)
	jumps := map[cid.Cid]cid.Cid{}
	for _, g := range gaps {
		at := g.From
		if g.Size > 0 {
			at = g.Next
		}
		if !g.Resync && at.Defined() {
			jumps[at] = g.Stop
		}
	}
	return jumps, err
}

// fetchAll sends the advertisements from head on.
func (w *walker) fetchAll(ctx context.Context, head cid.Cid, jumps map[cid.Cid]cid.Cid, items chan<- item) error {
	next := head
	for n := uint64(0); next.Defined() && n < w.o.Depth; n++ {
		if to, ok := jumps[next]; ok {
			delete(jumps, next)
			next = to
			continue
		}
		it, previous := w.fetch(ctx, next)
		select {
		case items <- it:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if it.end != nil {
			break
		}
		next = previous
	}
	return nil
}

// fetch returns an advertisement and what is before it.
func (w *walker) fetch(ctx context.Context, c cid.Cid) (it item, previous cid.Cid) {
	it.cid = c
	block, err := w.block(ctx, c, ipni.Advertisement)
	if err != nil {
		it.end = err
		return it, cid.Undef
	}
	if it.ad, err = ad.Decode(c, block); err == nil {
		return it, it.ad.Previous
	}
	it.ad = nil
	previous, it.end = apply.Previous(c, block)
	return it, previous
}

func (w *walker) block(ctx context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, w.o.Timeout)
	defer cancel()
	block, err := w.chain.Block(ctx, c, kind)
	if err != nil {
		return nil, fmt.Errorf("fetch %s %s: %w", kind, c, err)
	}
	return block, nil
}

// visit checks an advertisement.
func (w *walker) visit(ctx context.Context, it item) error {
	if it.end != nil {
		row, err := w.state.Ad(ctx, it.cid)
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil && row.Done() { // else ingestion came no further either
			w.report.Ended = it.end.Error()
		}
		return err
	}
	w.report.Ads++
	if err := w.check(ctx, it); err != nil {
		return fmt.Errorf("advertisement %s: %w", it.cid, err)
	}
	w.o.Read(w.report)
	return nil
}
