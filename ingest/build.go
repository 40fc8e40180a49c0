package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/unixfs"
)

// errFamiliar stops a pass whose first leaf is known already.
var errFamiliar = errors.New("the first leaf is known")

// adder adds one input, in one pass or several.
type adder struct {
	o    Options
	dst  Destination
	scan *scanner
	root entry
	dry  bool // this pass writes nothing

	maxSeen int // blocks to remember
}

// add makes one pass that writes. If the beginning looks familiar, it first makes
// one that only hashes, to see whether all is there.
func (a *adder) add(ctx context.Context) (Result, error) {
	if a.o.DryRun {
		return a.pass(ctx, true, false)
	}
	res, err := a.pass(ctx, false, a.dst.Has != nil && a.dst.Complete != nil)
	if !errors.Is(err, errFamiliar) {
		return res, err
	}
	res, err = a.pass(ctx, true, false)
	if err != nil {
		return res, err
	}
	complete, err := a.dst.complete(ctx, res.Root)
	if err != nil || complete {
		return res, err
	}
	return a.pass(ctx, false, false)
}

func (d Destination) complete(ctx context.Context, root cid.Cid) (bool, error) {
	if d.Complete == nil {
		return false, nil
	}
	dig, err := digest.FromCID(root)
	if err != nil {
		return false, err
	}
	return d.Complete(ctx, dig)
}

func (a *adder) pass(ctx context.Context, dry, probe bool) (Result, error) {
	a.dry = dry
	b := &builder{adder: a, probe: probe, seen: newSeen(a.maxSeen)}
	if !dry {
		if err := b.open(); err != nil {
			return Result{}, err
		}
	}
	fill := func(ctx context.Context, w *walker) error { return w.entry(ctx, a.root.name, &a.root) }
	err := a.run(ctx, fill, b.take)
	if err == nil {
		err = b.finish(ctx)
	}
	if err != nil {
		b.discard(ctx)
		return Result{}, err
	}
	return b.res, nil
}

// builder writes the blocks of one pass and records them.
type builder struct {
	*adder
	probe   bool // ask whether the first leaf is known
	w       *pack.Writer
	rec     Recorder
	seen    seen
	entries int      // so far
	written int64    // blocks that went into packs
	stack   []parent // from the root to where we are
	cids    []cid.Cid
	res     Result
	placed  *placed // what a call of Place collects, or nil
}

// parent is a block that has its room, and gets its content when its children are done.
type parent struct {
	place   pack.Place
	entry   int
	entity  *Entry
	written int64 // before it
	cids    int   // before its children
	known   *StoredBlock
}

func (b *builder) open() error {
	like, err := b.rootLike()
	if err != nil {
		return err
	}
	b.w = pack.NewWriter(b.dst.Packs.Draft, &pack.Options{Size: b.o.PackSize, Root: like, Committed: b.committed})
	if b.dst.Record != nil && b.placed == nil {
		b.rec = b.dst.Record()
	}
	return nil
}

// rootLike returns a CID as long as the root's will be.
func (b *builder) rootLike() (cid.Cid, error) {
	leaf, err := b.o.Profile.Leaf(nil)
	if err != nil || leaf.CID.ByteLen() == b.scan.cidLen(&b.root) {
		return leaf.CID, err
	}
	node, err := b.o.Profile.Symlink("")
	return node.CID, err
}

func (b *builder) committed(ctx context.Context, n int, d digest.Digest, size int64) error {
	b.res.Packs++
	b.res.PackBytes += size
	if b.o.Trace.Packed != nil {
		b.o.Trace.Packed(n, d, size)
	}
	if b.placed != nil {
		return b.placed.packed(ctx, b.rec, n, d)
	}
	if b.rec == nil {
		return nil
	}
	return b.rec.Packed(ctx, n, d)
}

// take does the steps of a batch.
func (b *builder) take(ctx context.Context, x *batch) error {
	for i := range x.ops {
		if err := b.step(ctx, &x.ops[i]); err != nil {
			return err
		}
	}
	if b.o.Trace.Read != nil && len(x.buf) > 0 {
		b.o.Trace.Read(x.path, int64(len(x.buf)))
	}
	return nil
}

func (b *builder) step(ctx context.Context, o *op) error {
	switch o.kind {
	case opKnown:
		b.known(o)
		return nil
	case opOpen:
		b.settle(0)
		return b.enter(ctx, o)
	case opClose:
		b.settle(0)
		return b.leave(ctx, o)
	}
	b.settle(0)
	return b.leaf(ctx, o)
}

// enter makes room for a parent.
func (b *builder) enter(ctx context.Context, o *op) error {
	p := parent{entity: o.entity, written: b.written, cids: len(b.cids)}
	if !b.dry {
		var err error
		if p.place, err = b.w.Reserve(ctx, o.cidLen, o.size); err != nil {
			return err
		}
	}
	p.entry = b.record(index.Node{Pack: p.place.Pack, Offset: p.place.Offset, Size: o.size,
		Entity: o.entity != nil, Directory: o.entity != nil && o.entity.Type == unixfs.Directory})
	b.stack = append(b.stack, p)
	return nil
}

// leave fills a parent in, or takes its room back if the same block stands before.
func (b *builder) leave(ctx context.Context, o *op) error {
	p := b.stack[len(b.stack)-1]
	b.stack = b.stack[:len(b.stack)-1]
	blk, err := b.encode(o, b.cids[p.cids:])
	if err != nil {
		return err
	}
	b.cids = b.cids[:p.cids]
	first, dup := b.seen.lookup(blk.CID)
	if dup && b.written != p.written {
		// Its children were written again, so it cannot be taken back.
		dup = false
		b.loosen()
	}
	if dup {
		b.res.Duplicates++
		if !b.dry {
			err = b.w.Unreserve(ctx, p.place)
		}
	} else {
		first = -1
		b.remember(blk.CID, p.entry)
		b.written++
		if !b.dry {
			err = b.w.Fill(ctx, p.place, blk)
		}
	}
	if err != nil {
		return err
	}
	b.close(p.entry, blk.CID, first, p.entity)
	return nil
}

func (b *builder) encode(o *op, children []cid.Cid) (block.Block, error) {
	if o.dir != nil {
		return b.o.Profile.EncodeDir(o.dir, children)
	}
	return b.o.Profile.FileNode(o.file, children)
}

// leaf writes a block without children, unless it occurred before or is known.
func (b *builder) leaf(ctx context.Context, o *op) error {
	c := o.block.CID
	if err := b.familiar(ctx, o); err != nil {
		return err
	}
	n := index.Node{CID: c, Pack: -1, Size: int64(len(o.block.Data)), FileBytes: int64(len(o.data)), Entity: o.entity != nil}
	first, dup := b.seen.lookup(c)
	switch {
	case dup:
		b.res.Duplicates++
	case o.known != nil:
		b.res.Duplicates++
		n.Location, n.Offset, n.Unframed = o.known.Location, o.known.Offset, !o.known.Framed
	default:
		b.written++
		if b.dry {
			break
		}
		place, err := b.w.Append(ctx, c, o.block.Data)
		if err != nil {
			return err
		}
		n.Pack, n.Offset = place.Pack, place.Offset
	}
	entry := b.record(n)
	if !dup {
		first = -1
		b.remember(c, entry)
	}
	b.close(entry, c, first, o.entity)
	return nil
}

// familiar stops the pass if the first leaf with content is known.
func (b *builder) familiar(ctx context.Context, o *op) error {
	if !b.probe || len(o.data) == 0 {
		return nil
	}
	b.probe = false
	d, err := digest.FromCID(o.block.CID)
	if err != nil {
		return err
	}
	known, err := b.dst.Has(ctx, d)
	if err != nil {
		return fmt.Errorf("look for %s: %w", o.block.CID, err)
	}
	if known {
		return errFamiliar
	}
	return nil
}

// record opens the next entry and returns its number.
func (b *builder) record(n index.Node) int {
	b.entries++
	if b.placed != nil && len(b.stack) == 0 {
		b.rec = b.placed.begin(b.dst, n)
	}
	if b.rec == nil {
		return b.entries - 1
	}
	return b.rec.Open(n)
}

func (b *builder) remember(c cid.Cid, entry int) {
	if !b.seen.add(c, entry) {
		b.loosen()
	}
}

// loosen tells the record that a block may stand twice from here on.
func (b *builder) loosen() {
	if b.rec != nil {
		b.rec.Loose()
	}
}

// close ends an entry, and adds its CID to those of its parent.
func (b *builder) close(entry int, c cid.Cid, first int, entity *Entry) {
	if b.rec != nil {
		b.rec.Close(entry, c, first)
	}
	b.cids = append(b.cids, c)
	b.res.Blocks++
	if entity == nil {
		return
	}
	entity.CID = c
	b.res.Root, b.res.DAGSize = c, entity.DAGSize
	if b.placed != nil {
		b.endFile(*entity)
		return
	}
	if b.o.Trace.Added != nil {
		b.o.Trace.Added(*entity)
	}
}

// finish makes the DAG durable and then visible.
func (b *builder) finish(ctx context.Context) error {
	b.settle(0)
	if b.dry {
		return nil
	}
	if b.placed != nil {
		return b.finishPlaced(ctx)
	}
	// Without records of blocks, only the root tells that all was there.
	complete, err := b.dst.complete(ctx, b.res.Root)
	if err != nil {
		return err
	}
	if complete {
		b.discard(ctx)
		b.res.Packs, b.res.PackBytes = 0, 0
		return nil
	}
	if err := b.finishPacks(ctx); err != nil {
		return err
	}
	if b.rec != nil {
		if err := b.rec.Finish(ctx); err != nil {
			return err
		}
	}
	b.res.Stored = true
	return nil
}

// finishPacks makes the packs durable, if anything is in them.
func (b *builder) finishPacks(ctx context.Context) error {
	if b.written == 0 {
		b.w.Discard()
		return nil
	}
	return b.w.Finish(ctx, b.res.Root)
}

// discard frees what is not durable, even if ctx is done.
func (b *builder) discard(ctx context.Context) {
	if b.w != nil {
		b.w.Discard()
	}
	if b.placed != nil {
		b.placed.discard(ctx)
	}
	if b.rec != nil {
		// What cannot be removed now is never believed, and swept later.
		_ = b.rec.Discard(context.WithoutCancel(ctx))
	}
}
