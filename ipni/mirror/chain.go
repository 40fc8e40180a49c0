package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/mirror/adcar"
)

// Mode says whom a [Chain] asks, and in which order.
type Mode int

// The modes.
const (
	// Only asks the mirror alone: the head is the one that the mirror has of the provider.
	Only Mode = iota
	// First asks the mirror for blocks, and the publisher for those that the mirror has not, or
	// has damaged. The head is the publisher's, and the mirror's if the publisher
	// cannot be asked.
	First
	// Last asks the publisher, and the mirror for what the publisher does not give.
	Last
)

// maxOwners is of how many blocks of entries a Chain remembers the advertisement.
const maxOwners = 1 << 16

// Chain is the advertisements of a provider out of a mirror, a publisher, or both. It
// implements [ipni.Chain].
//
// Entries are found in the archive of the advertisement that they belong to, so that has to
// be asked for before them, and a block before those that it points to. The last 65,536
// pointers are remembered: whoever walks a longer chain before it reads entries asks for each
// advertisement again.
type Chain struct {
	mirror   *Mirror
	provider peer.ID
	next     ipni.Chain
	mode     Mode

	mu     sync.Mutex
	owners owners
	open   []*adcar.Archive // the last used first
	closed bool
}

var _ ipni.Chain = (*Chain)(nil)

// Chain returns the chain of a provider. next is its publisher; it is not used in the mode
// [Only], and may be nil, which is that mode. The caller closes the chain when it is done.
func (m *Mirror) Chain(provider peer.ID, next ipni.Chain, mode Mode) *Chain {
	if next == nil {
		mode = Only
	}
	return &Chain{mirror: m, provider: provider, next: next, mode: mode}
}

// Head returns the newest advertisement.
func (c *Chain) Head(ctx context.Context) (cid.Cid, error) {
	if c.mode == Only {
		return c.mirror.Head(ctx, c.provider)
	}
	head, err := c.next.Head(ctx)
	if err == nil || errors.Is(err, fs.ErrNotExist) || ctx.Err() != nil {
		return head, err
	}
	head, second := c.mirror.Head(ctx, c.provider)
	if second != nil {
		return cid.Undef, both(err, second)
	}
	return head, nil
}

// Block returns a block that hashes to id.
func (c *Chain) Block(ctx context.Context, id cid.Cid, kind ipni.Kind) ([]byte, error) {
	b, err := c.block(ctx, id, kind)
	if err == nil {
		c.note(id, b, kind)
	}
	return b, err
}

func (c *Chain) block(ctx context.Context, id cid.Cid, kind ipni.Kind) ([]byte, error) {
	publisher := func() ([]byte, error) { return c.next.Block(ctx, id, kind) }
	mirror := func() ([]byte, error) { return c.fromMirror(ctx, id, kind) }
	switch c.mode {
	case First:
		return either(ctx, mirror, publisher)
	case Last:
		return either(ctx, publisher, mirror)
	}
	return mirror()
}

func either(ctx context.Context, first, second func() ([]byte, error)) ([]byte, error) {
	b, err := first()
	if err == nil || ctx.Err() != nil {
		return b, err
	}
	b, then := second()
	if then != nil {
		return nil, both(err, then)
	}
	return b, nil
}

// both joins what two said who were asked for the same: it is absent only if both say so, and
// otherwise the error is of the kind of those that do not.
func both(a, b error) error {
	if errors.Is(a, fs.ErrNotExist) {
		a, b = b, a
	}
	if errors.Is(a, fs.ErrNotExist) || !errors.Is(b, fs.ErrNotExist) {
		return fmt.Errorf("%w; %w", a, b)
	}
	return fmt.Errorf("%w; %v", a, b)
}

func (c *Chain) fromMirror(ctx context.Context, id cid.Cid, kind ipni.Kind) ([]byte, error) {
	if kind != ipni.Advertisement {
		return c.entries(ctx, id)
	}
	a, err := c.mirror.Archive(ctx, id)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return a.Ad(), nil
}

// note remembers to which advertisement the blocks belong that a block points to.
func (c *Chain) note(id cid.Cid, data []byte, kind ipni.Kind) {
	ad, next := id, []cid.Cid(nil)
	if kind == ipni.Advertisement {
		if l, err := adcar.ReadLinks(id, data); err == nil && l.Entries.Defined() {
			next = []cid.Cid{l.Entries}
		}
	} else {
		c.mu.Lock()
		owner, ok := c.owners.ads[string(id.Hash())]
		c.mu.Unlock()
		if !ok {
			return
		}
		ad, next = owner, adcar.EntryLinks(id, data)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range next {
		c.owners.put(string(n.Hash()), ad)
	}
}

// entries finds a block of entries: that of the advertisement it belongs to, or of one whose
// entries are being read.
func (c *Chain) entries(ctx context.Context, id cid.Cid) ([]byte, error) {
	c.mu.Lock()
	owner, owned := c.owners.ads[string(id.Hash())]
	open := slices.Clone(c.open)
	c.mu.Unlock()
	if owned {
		return c.owned(ctx, owner, id)
	}
	// A compressed archive is searched through only if none is known to have the block.
	for _, known := range []bool{true, false} {
		for _, a := range open {
			if a.Holds(id) != known {
				continue
			}
			b, err := c.use(ctx, a, id)
			if !errors.Is(err, adcar.ErrForeign) && !errors.Is(err, adcar.ErrClosed) {
				return b, err
			}
		}
	}
	return nil, fmt.Errorf("mirror: block %s: it belongs to no advertisement that was asked for", id)
}

// owned reads a block out of the archive of its advertisement.
func (c *Chain) owned(ctx context.Context, owner, id cid.Cid) ([]byte, error) {
	for {
		a, err := c.archive(ctx, owner)
		if err != nil {
			return nil, err
		}
		b, err := c.use(ctx, a, id)
		if !errors.Is(err, adcar.ErrClosed) {
			return b, err
		}
		// Others needed its place before it was used.
	}
}

// use reads a block out of an open archive.
func (c *Chain) use(ctx context.Context, a *adcar.Archive, id cid.Cid) ([]byte, error) {
	b, err := a.Block(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return b, nil
}

// archive returns the archive of an advertisement, which may be open already.
func (c *Chain) archive(ctx context.Context, ad cid.Cid) (*adcar.Archive, error) {
	if a := c.opened(ad); a != nil {
		return a, nil
	}
	a, err := c.mirror.Archive(ctx, ad)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		a.Close()
		return nil, fmt.Errorf("mirror: chain of %s: %w", c.provider, fs.ErrClosed)
	}
	c.open = slices.Insert(c.open, 0, a)
	for len(c.open) > c.mirror.options.MaxOpen {
		last := len(c.open) - 1
		c.open[last].Close()
		c.open = c.open[:last]
	}
	return a, nil
}

// opened returns an archive that is open, and makes it the one that was used last.
func (c *Chain) opened(ad cid.Cid) *adcar.Archive {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.open, func(a *adcar.Archive) bool { return a.CID().Equals(ad) })
	if i < 0 {
		return nil
	}
	a := c.open[i]
	copy(c.open[1:i+1], c.open[:i])
	c.open[0] = a
	return a
}

// Close ends the reading of archives.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.open {
		a.Close()
	}
	c.open, c.closed = nil, true
	return nil
}

// owners says to which advertisement the first block of entries belongs, of the last ones
// that were put.
type owners struct {
	ads  map[string]cid.Cid
	ring []string
	at   int
}

func (o *owners) put(entries string, ad cid.Cid) {
	if o.ads == nil {
		o.ads = map[string]cid.Cid{}
	}
	if _, ok := o.ads[entries]; !ok {
		if len(o.ring) < maxOwners {
			o.ring = append(o.ring, entries)
		} else {
			delete(o.ads, o.ring[o.at])
			o.ring[o.at] = entries
			o.at = (o.at + 1) % maxOwners
		}
	}
	o.ads[entries] = ad
}
