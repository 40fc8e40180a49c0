// Package copying copies chains into a mirror after they were ingested.
//
// # Errors
//
// What fails is logged, and tried again when the chain has something new.
//
// A Copier is safe for concurrent use. It works in [Copier.Run].
package copying

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/mirror"
)

// Copier copies chains into the mirror, after they were ingested. What the mirror has is all that it
// knows, so nothing is lost if it is killed.
type Copier struct {
	ingester *ingest.Ingester
	open     ingest.Open
	writer   *mirror.Writer
	log      *slog.Logger

	mu      sync.Mutex
	pending map[peer.ID]bool
	wake    chan struct{} // holds one
}

// New returns a Copier that writes what ingester has processed, of the chains that open returns.
func New(ingester *ingest.Ingester, open ingest.Open, writer *mirror.Writer, log *slog.Logger) *Copier {
	return &Copier{ingester: ingester, open: open, writer: writer, log: log, pending: map[peer.ID]bool{}, wake: make(chan struct{}, 1)}
}

// Changed tells that a chain has something new.
func (c *Copier) Changed(publisher peer.ID) {
	c.mu.Lock()
	c.pending[publisher] = true
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run copies until ctx ends.
func (c *Copier) Run(ctx context.Context) error {
	all, err := c.ingester.Statuses(ctx)
	if err != nil {
		return err
	}
	for _, st := range all {
		c.Changed(st.Publisher.ID)
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
				c.log.Warn("mirror", "publisher", id.String(), "error", err)
			}
		}
	}
}

// copy copies what the mirror lacks of a chain that is read to its end, oldest first, then
// moves the head.
func (c *Copier) copy(ctx context.Context, publisher peer.ID) error {
	st, err := c.ingester.Status(ctx, publisher)
	if err != nil || st.Lag > 0 || !st.Head.Defined() {
		return err
	}
	chain, err := c.open(ctx, st.Publisher)
	if err != nil {
		return err
	}
	if closer, ok := chain.(io.Closer); ok {
		defer closer.Close()
	}
	var missing []cid.Cid // newest first
	for at := st.Head; at.Defined(); {
		if has, err := c.writer.Has(ctx, at); err != nil || has {
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
			return fmt.Errorf("copying: %w", err)
		}
		at = a.Previous
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := c.store(ctx, chain, missing[i]); err != nil {
			return err
		}
	}
	return c.writer.SetHead(ctx, publisher, st.Head)
}

// store copies an advertisement, with its entries if they counted.
func (c *Copier) store(ctx context.Context, chain ipni.Chain, id cid.Cid) error {
	data, err := chain.Block(ctx, id, ipni.Advertisement)
	if err != nil {
		return err
	}
	a, err := ad.Decode(id, data)
	if err != nil {
		return err
	}
	status, err := c.ingester.AdStatus(ctx, id)
	if err != nil {
		return err
	}
	root := a.Entries
	if status.Status == state.Skipped || a.Remove {
		root = cid.Undef
	}
	return c.writer.Store(ctx, id, data, entryBlocks(ctx, chain, root))
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
