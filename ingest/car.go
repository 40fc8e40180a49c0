package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index/adopt"
	"github.com/hashstream/hashstream/pack"
)

// Shelf is where packs are that are to be indexed, and the index.
type Shelf = adopt.Home

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
	ErrIncomplete = adopt.ErrIncomplete
	// ErrUnplanned reports a DAG that is not recorded as a whole because of its
	// size or shape. Its blocks can be found one by one.
	ErrUnplanned = adopt.ErrUnplanned
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
// whole in this pack is no error: [IndexedRoot] tells. No data is verified but that of
// blocks with links.
func IndexPack(ctx context.Context, d digest.Digest, s Shelf, roots ...cid.Cid) (Indexed, error) {
	x, err := indexPack(ctx, d, s, roots)
	if err != nil {
		return x, fmt.Errorf("ingest: index pack %s: %w", d, err)
	}
	return x, nil
}

func indexPack(ctx context.Context, d digest.Digest, s Shelf, roots []cid.Cid) (Indexed, error) {
	a := adopt.New(s, nil)
	p, err := a.Frames(ctx, d)
	if err == nil {
		err = a.Flush(ctx)
	}
	x := Indexed{Blocks: p.Blocks}
	if err == nil && len(p.Bad) > 0 {
		err = p.Bad[0].Err
	}
	if err == nil && len(roots) == 0 {
		roots, err = a.Roots(ctx)
	}
	if err != nil {
		return x, err
	}
	for _, root := range roots {
		err := a.DAG(ctx, root)
		if unusual := errors.Is(err, ErrIncomplete) || errors.Is(err, ErrUnplanned); err != nil && !unusual || errors.Is(err, digest.ErrMismatch) {
			return x, err
		}
		x.Roots = append(x.Roots, IndexedRoot{CID: root, Complete: err == nil, Reason: err})
	}
	return x, nil
}
