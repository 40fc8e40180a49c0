package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

const (
	maxLinks   = 1 << 20 // of all blocks on the way from the root to where we are
	maxNesting = 250     // an index takes DAGs 255 deep
	saveEvery  = 1 << 15 // entries
)

// recording is one DAG of a pack on its way into an index.
type recording struct {
	*indexer
	rec     Recorder
	entries int64
	links   int
}

// role is what a block is to the one that links to it.
type role uint8

const (
	roleEntity role = iota // a file, a directory or some other DAG of its own
	rolePart               // more of a file
	roleShard              // more of a directory
)

// record records the DAG below root. ErrIncomplete and ErrUnplanned mean that there
// is no record of it.
func (x *indexer) record(ctx context.Context, root cid.Cid) error {
	if x.table.over {
		return fmt.Errorf("%w: the pack holds more than %d blocks", ErrUnplanned, x.table.limit)
	}
	x.table.forget()
	r := &recording{indexer: x, rec: x.shelf.Record()}
	err := r.save(ctx)
	if err == nil {
		err = r.visit(ctx, root, roleEntity, 0)
	}
	if err == nil {
		err = r.rec.Finish(ctx)
	}
	if err != nil {
		return errors.Join(err, r.rec.Discard(context.WithoutCancel(ctx)))
	}
	return nil
}

// save lets the recorder store what it has, so that it does not pile up.
func (r *recording) save(ctx context.Context) error { return r.rec.Packed(ctx, 0, r.pack) }

// visit records the block of c and what is below it.
func (r *recording) visit(ctx context.Context, c cid.Cid, as role, depth int) error {
	d, err := r.admit(ctx, c, depth)
	if err != nil {
		return err
	}
	if data, inline := d.Inline(); inline {
		return r.inline(ctx, block.Block{CID: c, Data: data}, as, depth)
	}
	i, framed, ok := r.table.find(c)
	if !ok {
		return fmt.Errorf("%w: %s is missing", ErrIncomplete, c)
	}
	if !framed {
		r.rec.Loose() // it is not known under this CID whether it occurred before
	}
	p := &r.table.places[i]
	node, links, err := r.read(ctx, c, p)
	if err != nil {
		return err
	}
	n := describe(c, node, as, int64(p.size))
	n.Offset, n.Size, n.Unframed = p.offset, int64(p.size), !framed
	first := int64(p.first)
	if !framed {
		first = -1
	}
	// Where occurrences grow out of proportion, one block stands for all that is
	// below it, so that a DAG of few blocks cannot be a plan without end.
	n.Folded = first >= 0 && len(links) > 0 && r.entries > 2*r.blocks+1<<16
	entry := r.open(n)
	if framed && first < 0 {
		p.first = int32(entry)
	}
	if !n.Folded {
		if err := r.children(ctx, node, links, depth); err != nil {
			return err
		}
	}
	r.rec.Close(entry, c, int(first))
	if r.entries%saveEvery == 0 {
		return r.save(ctx)
	}
	return nil
}

// inline records a block that its CID carries.
func (r *recording) inline(ctx context.Context, b block.Block, as role, depth int) error {
	node, links, err := decode(b)
	if err != nil {
		return err
	}
	n := describe(b.CID, node, as, int64(len(b.Data)))
	n.Pack, n.Size = -1, int64(len(b.Data))
	entry := r.open(n)
	if err := r.children(ctx, node, links, depth); err != nil {
		return err
	}
	r.rec.Close(entry, b.CID, -1)
	return nil
}

func (r *recording) open(n index.Node) int {
	r.entries++
	return r.rec.Open(n)
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

// admit checks c against the limits.
func (r *recording) admit(ctx context.Context, c cid.Cid, depth int) (digest.Digest, error) {
	if err := ctx.Err(); err != nil {
		return digest.Digest{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return d, fmt.Errorf("%w: %v", ErrUnplanned, err)
	}
	if r.budget--; r.budget < 0 || r.entries >= math.MaxInt32 {
		return d, fmt.Errorf("%w: it has too many blocks", ErrUnplanned)
	}
	if depth > maxNesting {
		return d, fmt.Errorf("%w: it is more than %d links deep", ErrUnplanned, maxNesting)
	}
	return d, nil
}

// read returns the links of a block and what it is in UnixFS, nil if nothing.
func (r *recording) read(ctx context.Context, c cid.Cid, p *tablePlace) (*unixfs.Node, []cid.Cid, error) {
	if c.Type() == cid.Raw {
		return nil, nil, nil
	}
	b, err := r.block(ctx, c, p.offset, int64(p.size))
	if err != nil {
		return nil, nil, err
	}
	return decode(b)
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

// block reads and verifies a block with links.
func (x *indexer) block(ctx context.Context, c cid.Cid, off, size int64) (block.Block, error) {
	if size > block.MaxSize {
		return block.Block{}, fmt.Errorf("%w: %s: %w", ErrUnplanned, c, block.ErrTooLarge)
	}
	data, err := blob.Read(ctx, x.shelf.Packs, pack.Key(x.pack), off, size)
	if err != nil {
		return block.Block{}, err
	}
	b, err := block.New(c, data)
	if errors.Is(err, digest.ErrUnsupported) {
		return b, fmt.Errorf("%w: %w", ErrUnplanned, err)
	}
	return b, err
}

func (x *indexer) links(ctx context.Context, c cid.Cid, off, size int64) ([]cid.Cid, error) {
	b, err := x.block(ctx, c, off, size)
	if err != nil {
		return nil, err
	}
	return dag.Links(b)
}

// children visits what a block links to.
func (r *recording) children(ctx context.Context, node *unixfs.Node, links []cid.Cid, depth int) error {
	r.links += len(links)
	if r.links > maxLinks {
		return fmt.Errorf("%w: its blocks have too many links", ErrUnplanned)
	}
	for i, c := range links {
		if err := r.visit(ctx, c, childRole(node, i), depth+1); err != nil {
			return err
		}
	}
	r.links -= len(links)
	return nil
}

func childRole(parent *unixfs.Node, i int) role {
	switch {
	case parent == nil:
		return roleEntity
	case parent.IsFile():
		return rolePart
	case parent.Type == unixfs.HAMT && len(parent.Links[i].Name) == prefixLen(parent.Fanout):
		return roleShard
	}
	return roleEntity
}

// prefixLen is the hexadecimal digits before the names of a shard's links; a link
// to another shard has nothing else.
func prefixLen(fanout int) int { return len(fmt.Sprintf("%X", max(fanout-1, 0))) }
