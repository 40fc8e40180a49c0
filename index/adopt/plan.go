package adopt

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/unixfs"
)

const (
	maxLinks   = 1 << 20 // of all blocks on the way from the root to where we are
	maxNesting = 250     // an index takes DAGs 255 deep
	maxRoots   = 1024    // that are found by looking at links
	saveEvery  = 1 << 15 // entries
)

// plan is one DAG on its way into the index.
type plan struct {
	*Adopter
	b       *index.Builder
	near    int32 // the location of the entry before
	entries int64
	budget  int64 // entries that may still come
	links   int
}

// role is what a block is to the one that links to it.
type role uint8

const (
	roleEntity role = iota // a file, a directory or some other DAG of its own
	rolePart               // more of a file
	roleShard              // more of a directory
)

// DAG records the DAG below root as a whole, unless it is recorded already.
func (a *Adopter) DAG(ctx context.Context, root cid.Cid) error {
	d, err := digest.FromCID(root)
	if err != nil {
		return fmt.Errorf("adopt: root %s: %w: %w", root, ErrUnplanned, err)
	}
	done := false
	if a.home.Complete != nil {
		done, err = a.home.Complete(ctx, d)
	}
	if err == nil && !done {
		err = a.record(ctx, root)
	}
	if err != nil {
		return fmt.Errorf("adopt: root %s: %w", root, err)
	}
	return nil
}

func (a *Adopter) record(ctx context.Context, root cid.Cid) error {
	if a.table.over {
		return fmt.Errorf("%w: there are more than %d blocks, or some that are too large", ErrUnplanned, a.table.limit)
	}
	a.table.begin()
	p := &plan{Adopter: a, b: index.NewBuilder(a.home.Keys, a.home.Level), near: -1, budget: 8*int64(len(a.table.places)) + 1<<16}
	err := a.blocks.Flush(ctx)
	if err == nil {
		err = p.visit(ctx, root, roleEntity, 0)
	}
	if err == nil {
		err = p.b.Finish(ctx)
	}
	if err != nil {
		return errors.Join(err, p.b.Discard(context.WithoutCancel(ctx)))
	}
	return nil
}

// visit records the block of c and what is below it.
func (p *plan) visit(ctx context.Context, c cid.Cid, as role, depth int) error {
	d, err := p.admit(ctx, c, depth)
	if err != nil {
		return err
	}
	if data, inline := d.Inline(); inline {
		return p.inline(ctx, block.Block{CID: c, Data: data}, as, depth)
	}
	at, memory, framed := p.table.find(c, p.near)
	if at == nil {
		return fmt.Errorf("%w: %s is one", ErrIncomplete, c)
	}
	node, links, err := p.read(ctx, c, at)
	if err != nil {
		return err
	}
	n := describe(c, node, as, int64(at.size))
	n.Location, n.Offset, n.Size, n.Unframed, n.Recorded = p.table.locations[at.loc], at.offset, int64(at.size), !framed, true
	first := int32(-1)
	if framed {
		first = memory.first
	} else {
		p.b.Loose() // it is not known under this CID whether it occurred before
	}
	// Where occurrences grow out of proportion, one block stands for all that is
	// below it, so that a DAG of few blocks cannot be a plan without end.
	n.Folded = first >= 0 && len(links) > 0 && p.entries > 2*int64(len(p.table.places))+1<<16
	p.near = at.loc
	entry := p.open(n)
	if framed && first < 0 {
		memory.first = int32(entry)
	}
	if !n.Folded {
		if err := p.children(ctx, node, links, depth); err != nil {
			return err
		}
	}
	p.b.Close(entry, c, int(first))
	if p.entries%saveEvery == 0 {
		return p.b.Packed(ctx, 0, d) // no entry refers to a pack by number: this only saves
	}
	return nil
}

// inline records a block that its CID carries.
func (p *plan) inline(ctx context.Context, b block.Block, as role, depth int) error {
	node, links, err := decode(b)
	if err != nil {
		return err
	}
	n := describe(b.CID, node, as, int64(len(b.Data)))
	n.Pack, n.Size = -1, int64(len(b.Data))
	entry := p.open(n)
	if err := p.children(ctx, node, links, depth); err != nil {
		return err
	}
	p.b.Close(entry, b.CID, -1)
	return nil
}

func (p *plan) open(n index.Node) int {
	p.entries++
	return p.b.Open(n)
}

// admit checks c against the limits.
func (p *plan) admit(ctx context.Context, c cid.Cid, depth int) (digest.Digest, error) {
	if err := ctx.Err(); err != nil {
		return digest.Digest{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return d, fmt.Errorf("%w: %v", ErrUnplanned, err)
	}
	if p.budget--; p.budget < 0 || p.entries >= math.MaxInt32 {
		return d, fmt.Errorf("%w: it has too many blocks", ErrUnplanned)
	}
	if depth > maxNesting {
		return d, fmt.Errorf("%w: it is more than %d links deep", ErrUnplanned, maxNesting)
	}
	return d, nil
}

// children visits what a block links to.
func (p *plan) children(ctx context.Context, node *unixfs.Node, links []cid.Cid, depth int) error {
	p.links += len(links)
	if p.links > maxLinks {
		return fmt.Errorf("%w: its blocks have too many links", ErrUnplanned)
	}
	for i, c := range links {
		if err := p.visit(ctx, c, childRole(node, i), depth+1); err != nil {
			return err
		}
	}
	p.links -= len(links)
	return nil
}

// describe says what a block of size bytes is.
func describe(c cid.Cid, node *unixfs.Node, as role, size int64) index.Node {
	n := index.Node{CID: c, Entity: as == roleEntity}
	switch {
	case c.Type() == cid.Raw:
		n.FileBytes = size
	case node != nil && node.IsFile():
		n.FileBytes = int64(len(node.Data))
	case node == nil || node.Type != unixfs.Symlink:
		n.Directory = n.Entity
	}
	return n
}

func childRole(parent *unixfs.Node, i int) role {
	switch {
	case parent == nil:
		return roleEntity
	case parent.IsFile():
		return rolePart
	case parent.Type == unixfs.HAMT && len(parent.Links[i].Name) == len(fmt.Sprintf("%X", max(parent.Fanout-1, 0))):
		return roleShard // the name is nothing but the digits before every name
	}
	return roleEntity
}

// read returns the links of a block and what it is in UnixFS, nil if nothing.
func (a *Adopter) read(ctx context.Context, c cid.Cid, p *place) (*unixfs.Node, []cid.Cid, error) {
	if c.Type() == cid.Raw {
		return nil, nil, nil
	}
	loc := a.table.locations[p.loc]
	if p.size > block.MaxSize {
		return nil, nil, fmt.Errorf("%w: %s: %w", ErrUnplanned, c, block.ErrTooLarge)
	}
	data, err := a.bytes(ctx, loc, p.offset, int64(p.size))
	if err != nil {
		return nil, nil, missing(ctx, err)
	}
	b, err := block.New(c, data)
	switch {
	case errors.Is(err, digest.ErrUnsupported):
		return nil, nil, fmt.Errorf("%w: %w", ErrUnplanned, err)
	case err != nil:
		return nil, nil, missing(ctx, err)
	}
	return decode(b)
}

// missing makes a block that cannot be read one that is not there.
func missing(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrIncomplete, err)
}

func decode(b block.Block) (*unixfs.Node, []cid.Cid, error) {
	links, err := dag.Links(b)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %v", ErrUnplanned, err)
	}
	node, err := unixfs.Decode(b)
	if err != nil || len(node.Links) != len(links) {
		node = nil // another kind of DAG
	}
	return node, links, nil
}

// unlinked returns the blocks with a codec for links that no block links to. Raw
// blocks are left out: a pack may hold nothing but leaves of a DAG that stands
// elsewhere.
func (a *Adopter) unlinked(ctx context.Context) (roots []cid.Cid, err error) {
	a.table.begin()
	linked := map[*place]bool{}
	err = a.nodes(ctx, func(c cid.Cid, at *place) bool {
		_, links, err := a.read(ctx, c, at)
		if err != nil {
			return true // a block that cannot be read has no links that matter
		}
		for _, l := range links {
			if to, _, _ := a.table.find(l, -1); to != nil {
				linked[to] = true
			}
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	err = a.nodes(ctx, func(c cid.Cid, at *place) bool {
		if !linked[at] {
			linked[at] = true // once
			roots = append(roots, c)
		}
		return len(roots) < maxRoots
	})
	return roots, err
}

// nodes calls f with the blocks of the packs that may have links.
func (a *Adopter) nodes(ctx context.Context, f func(cid.Cid, *place) bool) error {
	for _, p := range a.packs {
		for s, err := range a.sections(ctx, p.loc) {
			if err != nil {
				return fmt.Errorf("adopt: %w", err)
			}
			if s.CID.Type() == cid.Raw {
				continue
			}
			if at, _, _ := a.table.find(s.CID, -1); at != nil && !f(s.CID, at) {
				return nil
			}
		}
	}
	return nil
}
