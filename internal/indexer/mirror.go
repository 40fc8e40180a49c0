package indexer

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// copier copies chains into the mirror, after they were ingested. What the mirror has is all that it
// knows, so nothing is lost if it is killed.
type copier struct {
	s *Service

	mu      sync.Mutex
	pending map[peer.ID]bool
	wake    chan struct{} // holds one
}

func newCopier(s *Service) *copier {
	return &copier{s: s, pending: map[peer.ID]bool{}, wake: make(chan struct{}, 1)}
}

// changed tells that a chain has something new.
func (c *copier) changed(publisher peer.ID) {
	c.mu.Lock()
	c.pending[publisher] = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run copies until ctx ends.
func (c *copier) run(ctx context.Context) error {
	all, err := c.s.ingester.Statuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range all {
		c.changed(st.Publisher.ID)
	}
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.wake:
		}
		c.mu.Lock()
		publishers := c.pending
		c.pending = map[peer.ID]bool{}
		c.mu.Unlock()
		for id := range publishers {
			if err := c.copy(ctx, id); err != nil && ctx.Err() == nil {
				c.s.log.Warn("mirror", "publisher", id.String(), "error", err)
			}
		}
	}
}

// copy copies what the mirror lacks of a chain that is read to its end, oldest first, then
// moves the head.
func (c *copier) copy(ctx context.Context, publisher peer.ID) error {
	st, err := c.s.ingester.Status(ctx, publisher)
	if err != nil || st.Lag > 0 || !st.Head.Defined() {
		return err
	}
	chain, err := c.s.chains.open(ctx, st.Publisher)
	if err != nil {
		return err
	}
	defer closeChain(chain)
	var missing []cid.Cid // newest first
	for at := st.Head; at.Defined(); {
		if has, err := c.s.chains.writer.Has(ctx, at); err != nil || has {
			if err != nil {
				return err
			}
			break
		}
		data, err := chain.Block(ctx, at, ipni.Advertisement)
		if err != nil {
			return err
		}
		missing = append(missing, at)
		a, err := ad.Decode(at, data)
		if err != nil {
			return fmt.Errorf("indexer: mirror: %w", err)
		}
		at = a.Previous
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := c.store(ctx, chain, missing[i]); err != nil {
			return err
		}
	}
	return c.s.chains.writer.SetHead(ctx, publisher, st.Head)
}

// store copies an advertisement, with its entries if they counted.
func (c *copier) store(ctx context.Context, chain ipni.Chain, id cid.Cid) error {
	data, err := chain.Block(ctx, id, ipni.Advertisement)
	if err != nil {
		return err
	}
	a, err := ad.Decode(id, data)
	if err != nil {
		return err
	}
	status, err := c.s.ingester.AdStatus(ctx, id)
	if err != nil {
		return err
	}
	root := a.Entries
	if status.Status == state.Skipped || a.Remove {
		root = cid.Undef
	}
	return c.s.chains.writer.Store(ctx, id, data, entryBlocks(ctx, chain, root))
}

// entryBlocks yields the blocks of entries below root, each before those that it links to.
func entryBlocks(ctx context.Context, chain ipni.Chain, root cid.Cid) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		next := []cid.Cid{}
		if root.Defined() {
			next = append(next, root)
		}
		for len(next) > 0 {
			id := next[len(next)-1]
			next = next[:len(next)-1]
			data, err := chain.Block(ctx, id, ipni.EntryChunk)
			if err != nil {
				yield(block.Block{}, err)
				return
			}
			e, err := ad.DecodeEntries(id, data)
			if err != nil {
				yield(block.Block{}, err)
				return
			}
			for i := len(e.Links) - 1; i >= 0; i-- {
				next = append(next, e.Links[i])
			}
			if !yield(block.Block{CID: id, Data: data}, nil) {
				return
			}
		}
	}
}
