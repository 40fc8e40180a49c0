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
	"io"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/car"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/pack"
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
	Packs blob.Getter // by [pack.Key]
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
	digest digest.Digest
	roots  []cid.Cid
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

// Packed is what a pack held.
type Packed struct {
	Blocks int64
	// Bad is blocks that are not what their CID says. They are left out.
	Bad []pack.Fault
	// Unverified is set if the hash function of the pack's name is not supported.
	Unverified bool
}

// maxBad bounds how many bad blocks of a pack are told.
const maxBad = 16

// Pack streams a pack once, verifies it and its blocks, and records them.
func (a *Adopter) Pack(ctx context.Context, d digest.Digest) (Packed, error) {
	before := len(a.table.places)
	p, roots, err := a.scan(ctx, d)
	if err != nil {
		a.table.places = a.table.places[:before]
		if ctx.Err() != nil {
			return p, context.Cause(ctx)
		}
		return p, fmt.Errorf("adopt: pack %s: %w: %w", d, ErrPack, err)
	}
	a.packs = append(a.packs, packed{d, roots})
	return p, nil
}

func (a *Adopter) scan(ctx context.Context, d digest.Digest) (Packed, []cid.Cid, error) {
	obj, err := a.home.Packs.Get(ctx, pack.Key(d), 0, -1)
	if err != nil {
		return Packed{}, nil, err
	}
	defer obj.Close()
	var in io.Reader = struct{ io.Reader }{obj} // everything is read, nothing sought over
	h, err := digest.NewHasher(d.Code())
	if err == nil {
		in = io.TeeReader(in, h)
	}
	p := Packed{Unverified: err != nil}
	r, err := car.NewReader(in, nil)
	if err != nil {
		return p, nil, err
	}
	loc := a.table.location(index.Location{Pack: d})
	for {
		s, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return p, nil, err
		}
		if err := a.section(ctx, r, s, loc); err == nil {
			p.Blocks++
		} else if len(p.Bad) < maxBad {
			p.Bad = append(p.Bad, pack.Fault{Pack: d, Offset: s.Offset, CID: s.CID, Err: err})
		}
	}
	if _, err := io.Copy(io.Discard, in); err != nil {
		return p, nil, err
	}
	if !p.Unverified && h.Digest() != d {
		return p, nil, fmt.Errorf("its bytes: %w", digest.ErrMismatch)
	}
	return p, r.Roots(), nil
}

// section records one block of a pack.
func (a *Adopter) section(ctx context.Context, r *car.Reader, s car.Section, loc int32) error {
	d, err := digest.FromCID(s.CID)
	if err != nil {
		return err
	}
	data, err := r.Data()
	if err != nil {
		return err
	}
	if err := d.Verify(data); err != nil && !errors.Is(err, digest.ErrUnsupported) {
		return err
	}
	a.want(d, s.CID)
	a.table.add(s.CID, loc, s.Offset, s.Size, true)
	a.put(ctx, d, a.table.locations[loc], s.Offset, s.Size)
	return nil
}

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
