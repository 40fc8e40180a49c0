package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/pack"
)

// Shelf is where packs are that are to be indexed, and the index.
type Shelf struct {
	// Packs reads packs.
	Packs blob.Getter
	// Blocks records where the blocks of a durable pack are. Nil means that they
	// are not recorded.
	Blocks func(ctx context.Context, d digest.Digest, sections iter.Seq2[car.Section, error]) error
	// Record starts the record of one DAG. Nil means that DAGs are not recorded.
	Record func() Recorder
	// Complete reports whether the whole DAG below a root is recorded already.
	// Nil means no.
	Complete func(context.Context, digest.Digest) (bool, error)
}

// Indexed is what [IndexPack] found in a pack.
type Indexed struct {
	Blocks int64
	Roots  []IndexedRoot
}

// IndexedRoot is the root of a DAG.
type IndexedRoot struct {
	CID      cid.Cid
	Complete bool  // the DAG can be served whole
	Reason   error // why it is not recorded as a whole, if it is not complete
}

var (
	// ErrIncomplete reports a DAG of which the pack does not hold every block.
	ErrIncomplete = errors.New("the pack does not hold the whole DAG")
	// ErrUnplanned reports a DAG that is not recorded as a whole because of its
	// size or shape. Its blocks can be found one by one.
	ErrUnplanned = errors.New("the DAG is not recorded as a whole")
)

// ImportCAR stores the CAR that r yields byte for byte as a pack in packs, see
// [pack.Import], and records it like [IndexPack].
func ImportCAR(ctx context.Context, r io.Reader, packs blob.Drafter, s Shelf) (pack.Imported, Indexed, error) {
	p, err := pack.Import(ctx, packs, r)
	if err != nil {
		return p, Indexed{}, fmt.Errorf("ingest: %w", err)
	}
	x, err := IndexPack(ctx, p.Digest, s)
	return p, x, err
}

// IndexPack records the blocks of the stored pack d, which is any CAR, and the DAGs
// below roots. Without roots it takes those that the CAR's header names, and if it
// names none, the blocks with links that no other block links to. A DAG that is not
// whole in this pack is no error: [IndexedRoot] tells.
func IndexPack(ctx context.Context, d digest.Digest, s Shelf, roots ...cid.Cid) (Indexed, error) {
	x := &indexer{shelf: s, pack: d, table: newTable()}
	if err := x.scan(ctx); err != nil {
		return Indexed{}, fmt.Errorf("ingest: index pack %s: %w", d, err)
	}
	res := Indexed{Blocks: x.blocks}
	if s.Record == nil {
		return res, nil
	}
	var err error
	if res.Roots, err = x.plan(ctx, roots); err != nil {
		return res, fmt.Errorf("ingest: index pack %s: %w", d, err)
	}
	return res, nil
}

// indexer records one pack.
type indexer struct {
	shelf  Shelf
	pack   digest.Digest
	table  *table
	blocks int64
	budget int64 // entries that may still be recorded
}

// scan records the sections and builds the table.
func (x *indexer) scan(ctx context.Context) error {
	sections := func(yield func(car.Section, error) bool) {
		for s, err := range pack.Sections(ctx, x.shelf.Packs, x.pack) {
			if err == nil {
				x.blocks++
				x.table.add(s)
			}
			if !yield(s, err) {
				return
			}
		}
	}
	if x.shelf.Blocks != nil {
		if err := x.shelf.Blocks(ctx, x.pack, sections); err != nil {
			return err
		}
	} else {
		for _, err := range sections {
			if err != nil {
				return err
			}
		}
	}
	x.table.sort()
	x.budget = 8*x.blocks + 1<<16
	return nil
}

// plan records the DAG of each root.
func (x *indexer) plan(ctx context.Context, roots []cid.Cid) ([]IndexedRoot, error) {
	if len(roots) == 0 {
		var err error
		if roots, err = x.roots(ctx); err != nil {
			return nil, err
		}
	}
	var res []IndexedRoot
	for _, root := range roots {
		r := IndexedRoot{CID: root}
		d, err := digest.FromCID(root)
		if err == nil && x.shelf.Complete != nil {
			r.Complete, err = x.shelf.Complete(ctx, d)
		}
		if err == nil && !r.Complete {
			err = x.record(ctx, root)
			r.Complete = err == nil
		}
		if err != nil && !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrUnplanned) {
			return res, fmt.Errorf("root %s: %w", root, err)
		}
		r.Reason = err
		res = append(res, r)
	}
	return res, nil
}

// roots returns what the header names, or else what nothing links to.
func (x *indexer) roots(ctx context.Context) ([]cid.Cid, error) {
	obj, err := x.shelf.Packs.Get(ctx, pack.Key(x.pack), 0, -1)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	r, err := car.NewReader(obj, nil)
	if err != nil {
		return nil, err
	}
	var named []cid.Cid
	seen := map[cid.Cid]bool{}
	for _, c := range r.Roots() {
		d, err := digest.FromCID(c)
		if err != nil {
			continue // it cannot be served under that name
		}
		if _, inline := d.Inline(); !inline && !seen[c] {
			seen[c] = true
			named = append(named, c)
		}
	}
	if len(named) > 0 || x.table.over {
		return named, nil
	}
	return x.unlinked(ctx)
}

// unlinked returns the blocks with a codec for links that no block links to. Raw
// blocks are left out: a pack may hold nothing but leaves of a DAG that stands
// elsewhere.
func (x *indexer) unlinked(ctx context.Context) ([]cid.Cid, error) {
	linked := make([]bool, len(x.table.places))
	for s, err := range pack.Sections(ctx, x.shelf.Packs, x.pack) {
		if err != nil {
			return nil, err
		}
		if s.CID.Type() == cid.Raw {
			continue
		}
		links, err := x.links(ctx, s.CID, s.Offset, s.Size)
		if err != nil {
			continue // a block that cannot be read has no links that matter
		}
		for _, c := range links {
			if i, _, ok := x.table.find(c); ok {
				linked[i] = true
			}
		}
	}
	var roots []cid.Cid
	for s, err := range pack.Sections(ctx, x.shelf.Packs, x.pack) {
		if err != nil {
			return nil, err
		}
		i, _, ok := x.table.find(s.CID)
		if s.CID.Type() != cid.Raw && ok && !linked[i] {
			linked[i] = true // once
			roots = append(roots, s.CID)
		}
		if len(roots) >= maxRoots {
			break
		}
	}
	return roots, nil
}
