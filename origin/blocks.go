package origin

import (
	"context"
	"fmt"
	"io/fs"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
)

// blocks yields the blocks of a file at loc, whose root is c: its leaves there, the others
// where the plan of c has them. If there is no plan the error matches [fs.ErrNotExist].
func (x *Indexer) blocks(ctx context.Context, c cid.Cid, size int64, loc index.Location) iter.Seq2[ingest.StoredBlock, error] {
	return func(yield func(ingest.StoredBlock, error) bool) {
		if c.Prefix().Codec == cid.Raw {
			yield(ingest.StoredBlock{Known: ingest.Known{Location: loc}, CID: c, Size: size, FileBytes: size}, nil)
			return
		}
		p, err := x.plan(ctx, c)
		if err != nil {
			yield(ingest.StoredBlock{}, err)
			return
		}
		x.planned(ctx, p, loc, yield)
	}
}

// plan returns a plan of c that can be believed.
func (x *Indexer) plan(ctx context.Context, c cid.Cid) (index.Plan, error) {
	d, err := digest.FromCID(c)
	if err != nil {
		return index.Plan{}, err
	}
	for p, err := range x.stores.Index.Plans(ctx, d) {
		return p, err
	}
	return index.Plan{}, fmt.Errorf("origin: plan of %s: %w", c, fs.ErrNotExist)
}

func (x *Indexer) planned(ctx context.Context, p index.Plan, loc index.Location, yield func(ingest.StoredBlock, error) bool) {
	var top, position int64
	for n := p.First(); n < p.End(); n++ {
		e, seg, err := p.Entry(ctx, n)
		if err != nil {
			yield(ingest.StoredBlock{}, err)
			return
		}
		if n == p.First() {
			top = int64(e.Depth)
		}
		b := ingest.StoredBlock{Depth: e.Depth - int(top), Size: e.Size, FileBytes: e.FileBytes}
		b.CID, err = e.CID()
		switch {
		case err != nil:
		case e.FileBytes > 0: // a leaf: the bytes of the file, as the profile has raw leaves
			b.Known = ingest.Known{Location: loc, Offset: position}
		default:
			b.Known, err = stored(ctx, p, e, seg)
		}
		position += e.FileBytes
		if !yield(b, err) || err != nil {
			return
		}
	}
}

// stored is where an entry of a plan is that is no leaf.
func stored(ctx context.Context, p index.Plan, e index.Entry, seg *index.Segment) (ingest.Known, error) {
	r, err := p.Record(ctx, e, seg)
	if err != nil || e.First < 0 {
		return ingest.Known{Location: r.Location, Offset: r.Offset, Framed: e.Framed}, err
	}
	first, _, err := p.Entry(ctx, e.First)
	return ingest.Known{Location: r.Location, Offset: r.Offset, Framed: first.Framed && first.CIDBytes() == e.CIDBytes()}, err
}

// replay records blocks that are given in depth-first order as a DAG of their own.
func replay(rec ingest.Recorder, blocks iter.Seq2[ingest.StoredBlock, error]) error {
	type open struct {
		entry int
		cid   cid.Cid
	}
	var stack []open
	seen := map[cid.Cid]int{}
	settle := func(depth int) {
		for len(stack) > depth {
			o := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			first, dup := seen[o.cid]
			if !dup {
				seen[o.cid], first = o.entry, -1
			}
			rec.Close(o.entry, o.cid, first)
		}
	}
	for b, err := range blocks {
		if err != nil {
			return err
		}
		settle(b.Depth)
		entry := rec.Open(index.Node{Location: b.Location, Offset: b.Offset, Size: b.Size, FileBytes: b.FileBytes, Entity: b.Depth == 0, Unframed: !b.Framed})
		stack = append(stack, open{entry, b.CID})
	}
	settle(0)
	return nil
}
