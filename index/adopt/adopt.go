// Package adopt takes content into an index that stands where others put it: in CARs
// that become packs without being copied, and in places that a foreign index tells.
//
// An [Adopter] is told of packs and places, and records each block. Then it plans the DAGs
// whose blocks are all among them, in however many packs, so that they can be served
// like those that were added.
//
// # Errors
//
// A pack that is absent or not what its name says matches [ErrPack]. A DAG of which a
// block is missing matches [ErrIncomplete], one that is beyond the limits of a plan
// [ErrUnplanned]; both leave its blocks findable one by one. Any other error is a failure of
// the index.
//
// An Adopter belongs to one goroutine.
package adopt

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
)

var (
	// ErrPack reports a pack that cannot be adopted. The cause matches too.
	ErrPack = errors.New("the pack cannot be used")
	// ErrIncomplete reports a DAG of which not every block is known.
	ErrIncomplete = errors.New("blocks of the DAG are missing")
	// ErrUnplanned reports a DAG that is not recorded as a whole because of its
	// size or shape.
	ErrUnplanned = errors.New("the DAG is not recorded as a whole")
)

// Home is where content is taken in.
type Home struct {
	Keys  kv.Store    // the index
	Level index.Level // of the records; default all
	Packs blob.Getter // by [github.com/hashstream/hashstream/pack.Key]
	// Files reads raw files by the path of their location. Nil means that there are none.
	Files blob.Conditional
	// Complete reports whether the whole DAG below a root is recorded already.
	// Nil means no.
	Complete func(context.Context, digest.Digest) (bool, error)
}

// Options are the limits of an [Adopter].
type Options struct {
	// MaxBlocks is how many blocks are kept in mind to plan DAGs, at 48 bytes each. With
	// more, blocks are recorded and nothing is planned. Default 4,194,304.
	MaxBlocks int
}

// Adopter takes in some packs and places that belong together.
type Adopter struct {
	home   Home
	blocks *index.Blocks
	table  *table
	packs  []packed
	wanted map[digest.Digest][]cid.Cid
}

type packed struct {
	loc   index.Location
	roots []cid.Cid
}

// New returns an Adopter into home.
func New(home Home, o *Options) *Adopter {
	if home.Level == "" {
		home.Level = index.LevelAll
	}
	limit := 4 << 20
	if o != nil && o.MaxBlocks > 0 {
		limit = o.MaxBlocks
	}
	return &Adopter{home: home, blocks: index.NewBlocks(home.Keys), table: newTable(limit), wanted: map[digest.Digest][]cid.Cid{}}
}

// Want has [Adopter.CIDs] answer for d. It comes before the packs.
func (a *Adopter) Want(d digest.Digest) { a.wanted[d] = nil }

// CIDs returns the CIDs under which the packs hold a block that was wanted.
func (a *Adopter) CIDs(d digest.Digest) []cid.Cid { return a.wanted[d] }

func (a *Adopter) want(d digest.Digest, c cid.Cid) {
	known, ok := a.wanted[d]
	if !ok {
		return
	}
	for _, k := range known {
		if k.Equals(c) {
			return
		}
	}
	a.wanted[d] = append(known, c)
}

func (a *Adopter) put(ctx context.Context, d digest.Digest, loc index.Location, off, size int64) {
	if a.home.Level == index.LevelAll || a.home.Level == index.LevelSingle {
		a.blocks.Put(ctx, d, loc, off, size)
	}
}

// known takes in the block of a section of a CAR.
func (a *Adopter) known(ctx context.Context, d digest.Digest, s car.Section, loc int32) {
	a.want(d, s.CID)
	a.table.add(s.CID, loc, s.Offset, s.Size, true)
	a.put(ctx, d, a.table.locations[loc], s.Offset, s.Size)
}

// Place takes in the bare block of c, size bytes of loc from off. Nothing is
// read: who serves it verifies it.
func (a *Adopter) Place(ctx context.Context, c cid.Cid, loc index.Location, off, size int64) error {
	d, err := digest.FromCID(c)
	if err != nil {
		return fmt.Errorf("adopt: place %s: %w", c, err)
	}
	if _, inline := d.Inline(); !inline {
		a.table.add(c, a.table.location(loc), off, size, false)
		a.put(ctx, d, loc, off, size)
	}
	return nil
}

// Record notes where a block is without making it part of a DAG.
func (a *Adopter) Record(ctx context.Context, d digest.Digest, loc index.Location, off, size int64) {
	a.put(ctx, d, loc, off, size)
}

// Knows reports whether the block of d is in a pack or place.
func (a *Adopter) Knows(d digest.Digest) bool {
	a.table.sort()
	at, _, _ := a.table.find(d.CID(cid.Raw), -1)
	return at != nil
}

// Flush returns when all records of blocks are durable.
func (a *Adopter) Flush(ctx context.Context) error {
	if err := a.blocks.Flush(ctx); err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	return nil
}

// Roots returns what the headers of the packs name and is not inline, or else the blocks with
// links that no block of the packs links to.
func (a *Adopter) Roots(ctx context.Context) ([]cid.Cid, error) {
	var named []cid.Cid
	seen := map[cid.Cid]bool{}
	for _, p := range a.packs {
		for _, c := range p.roots {
			d, err := digest.FromCID(c)
			if err != nil || seen[c] {
				continue // it cannot be served under that name
			}
			if _, inline := d.Inline(); !inline {
				seen[c] = true
				named = append(named, c)
			}
		}
	}
	if len(named) > 0 || a.table.over {
		return named, nil
	}
	return a.unlinked(ctx)
}
