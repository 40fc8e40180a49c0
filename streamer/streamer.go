// Package streamer turns what is asked for into bytes: it finds the places of
// blocks in an index, plans the ranges that answer a selection, verifies them and
// sends them.
//
// A [Streamer] is a [block.Source] of verified blocks and a [block.Opener] of
// bodies. Where the index holds a plan of the DAG, a body is ranges of packs,
// sent without passing through memory if store and connection allow it, with a
// size that is known beforehand. Otherwise it is a walk over the blocks.
//
// No byte is sent that was not hashed: always, or once per process and version
// of the object ([VerifyOnce], the default). A copy that fails is reported to
// [Options.Quarantine] and another copy is used if there is one.
// A location with a copy in quarantine is not believed without hashing, until it is
// released.
//
// # Errors
//
// Absent content matches [io/fs.ErrNotExist]; content of which every copy is
// corrupt matches [digest.ErrMismatch]; a DAG that would take too much memory or, by
// [Options.MaxRepeating], too long, [dag.ErrLimit].
//
// A Streamer is safe for concurrent use.
package streamer

import (
	"context"
	"iter"

	"github.com/ipfs/go-cid"
	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"

	"github.com/hashstream/hashstream/streamer/copies"
	"github.com/hashstream/hashstream/streamer/sections"
	"github.com/hashstream/hashstream/streamer/trees"
)

// Verify says when bytes are hashed before they are sent.
type Verify = copies.Verify

// The policies.
const (
	VerifyOnce   = copies.VerifyOnce
	VerifyAlways = copies.VerifyAlways
	VerifyNever  = copies.VerifyNever
)

// Store is what a Streamer needs of the pack store.
type Store = copies.Store

// Trees finds the trees of BLAKE3 blobs: an [outboard.Store].
type Trees = trees.Trees

// Options tunes a [Streamer]. Nil and zero values mean the defaults.
type Options struct {
	Verify     Verify // default VerifyOnce
	CacheBytes int64  // blocks that carry links, kept in memory for path resolution; default 8 MiB
	// MaxRepeating bounds the blocks of a walk in which they may repeat (dups=y) and
	// for which there is no plan: a few blocks can stand for a DAG without end.
	// A body that is longer fails with [dag.ErrLimit]. Default 4,194,304.
	MaxRepeating int64
	// Files reads raw files by the path of their location, on condition of its
	// version. Without it what lies in raw files is absent.
	Files blob.Conditional
	// Trees finds the trees of BLAKE3 blobs. Without it no block over [block.MaxSize] is
	// served.
	Trees Trees
	Trace Trace
	// Quarantine is told of every copy that failed verification, so that it can be
	// kept from being served by others.
	Quarantine func(ctx context.Context, d digest.Digest, loc index.Location, cause error)
}

// Trace is told what happens. Any hook may be nil; hooks must be quick and safe
// for concurrent use.
type Trace struct {
	Planned  func(planned bool)                       // a CAR body was opened, with a plan or as a walk
	Verified func(blocks int, bytes int64, err error) // blocks were hashed
	Cache    func(hit bool)                           // the cache of linking blocks was asked
}

// Streamer serves verified content from an index and a pack store.
type Streamer struct {
	index  *index.Index
	copies *copies.Copies
	blobs  *trees.Blobs
	o      Options
	cache  *otter.Cache[digest.Digest, block.Block]
	places *otter.Cache[digest.Digest, *found] // of blocks that were lately opened
}

const maxPlaces = 1 << 16

// New returns a Streamer over idx and packs.
func New(idx *index.Index, packs Store, o *Options) *Streamer {
	s := &Streamer{index: idx}
	if o != nil {
		s.o = *o
	}
	if s.o.CacheBytes <= 0 {
		s.o.CacheBytes = 8 << 20
	}
	if s.o.MaxRepeating <= 0 {
		s.o.MaxRepeating = 1 << 22
	}
	s.cache = otter.Must(&otter.Options[digest.Digest, block.Block]{
		MaximumWeight: uint64(s.o.CacheBytes),
		Weigher:       func(_ digest.Digest, b block.Block) uint32 { return uint32(len(b.Data)) + 128 },
		// What another process removed is not resolved for much longer.
		ExpiryCalculator: otter.ExpiryWriting[digest.Digest, block.Block](copies.Life),
	})
	s.places = otter.Must(&otter.Options[digest.Digest, *found]{MaximumSize: maxPlaces})
	s.copies = copies.New(idx, packs, &copies.Options{
		Verify: s.o.Verify, Files: s.o.Files, Verified: s.o.Trace.Verified, Quarantine: s.quarantine,
	})
	s.blobs = trees.New(idx, s.copies, s.o.Trees, func(d digest.Digest) { s.places.Invalidate(d) })
	return s
}

// quarantine is told of copies that are corrupt.
func (s *Streamer) quarantine(ctx context.Context, d digest.Digest, loc index.Location, cause error) {
	s.places.Invalidate(d)
	if s.o.Quarantine != nil {
		s.o.Quarantine(ctx, d, loc, cause)
	}
}

// Distrust forgets that anything at loc was verified. A scrubber calls it for a
// location where it found a bad block.
func (s *Streamer) Distrust(loc index.Location) {
	s.copies.Forget(loc)
	s.cache.InvalidateAll()
	s.places.InvalidateAll()
}

// Blocks implements [block.Source].
func (s *Streamer) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return s.within(digest.Digest{}).Blocks(ctx, d)
}

// within returns a source that also looks for blocks in the plan of a containing.
func (s *Streamer) within(containing digest.Digest) source { return source{s, containing} }

type source struct {
	*Streamer
	containing digest.Digest
}

func (s source) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		b, err := s.block(ctx, d)
		if !yield(b, err) || err != nil {
			return
		}
		for p, err := range s.index.Plans(ctx, d) { // the first will do
			if err != nil {
				yield(block.Block{}, err)
				return
			}
			if _, all := p.Repeated(); all || !p.Borrows() { // else entries stand for blocks that are not among them
				s.planned(ctx, p, yield)
			}
			return
		}
	}
}

// planned yields the blocks of a plan after its root.
func (s *Streamer) planned(ctx context.Context, p index.Plan, yield func(block.Block, error) bool) {
	sel := sections.Below(p)
	for st, err := range sel.Stretches(ctx) {
		if err != nil {
			yield(block.Block{}, err)
			return
		}
		for _, e := range st.Entries {
			b, err := s.entryBlock(ctx, e, st.Location)
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

func (s *Streamer) entryBlock(ctx context.Context, e index.Entry, loc index.Location) (block.Block, error) {
	c, err := e.CID()
	if err != nil {
		return block.Block{}, err
	}
	d, err := digest.FromCID(c)
	if err != nil {
		return block.Block{}, err
	}
	data, err := s.copies.Read(ctx, index.Record{Digest: d, Location: loc, Offset: e.Offset, Length: e.Size})
	if err != nil {
		data, err = s.copies.Other(ctx, d, err)
	}
	return block.Block{CID: c, Data: data}, err
}

// block returns the verified block of d.
func (s source) block(ctx context.Context, d digest.Digest) (block.Block, error) {
	b, hit := s.cache.GetIfPresent(d)
	if s.o.Trace.Cache != nil {
		s.o.Trace.Cache(hit)
	}
	if hit {
		return b, nil
	}
	data, err := s.copies.Data(ctx, d, s.containing)
	if err != nil {
		return block.Block{}, err
	}
	b = block.Block{CID: d.CID(cid.Raw), Data: data}
	if len(data) <= 256<<10 {
		s.cache.Set(d, b)
	}
	return b, nil
}
