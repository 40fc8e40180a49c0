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
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"runtime"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/streamer/sections"
	"github.com/hashstream/hashstream/streamer/spans"
)

// Verify says when bytes are hashed before they are sent.
type Verify string

// The policies.
const (
	VerifyOnce   Verify = "once"   // the first time in this process, and again when the object changes
	VerifyAlways Verify = "always" // every time
	VerifyNever  Verify = "never"  // leave it to the scrubber and the receiver
)

// Store is what a Streamer needs of the pack store.
type Store interface {
	blob.Getter
	blob.Stater
}

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
	index    *index.Index
	packs    Store
	o        Options
	verified *spans.Set
	suspects suspects
	hashing  chan struct{} // bounds the hashing at one time
	buffers  buffers
	cache    *otter.Cache[digest.Digest, block.Block]
	places   *otter.Cache[digest.Digest, *found] // of blocks that were lately opened
}

const (
	maxPlaces = 1 << 16
	// placeLife bounds how long a place is used after another process put a copy
	// there in quarantine.
	placeLife = time.Minute
)

// New returns a Streamer over idx and packs.
func New(idx *index.Index, packs Store, o *Options) *Streamer {
	s := &Streamer{index: idx, packs: packs, verified: spans.New(), hashing: make(chan struct{}, runtime.GOMAXPROCS(0))}
	s.suspects.locations = map[index.Location]bool{}
	if o != nil {
		s.o = *o
	}
	if s.o.Verify == "" {
		s.o.Verify = VerifyOnce
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
		ExpiryCalculator: otter.ExpiryWriting[digest.Digest, block.Block](placeLife),
	})
	s.places = otter.Must(&otter.Options[digest.Digest, *found]{MaximumSize: maxPlaces})
	return s
}

// Distrust forgets that anything at loc was verified. A scrubber calls it for a
// location where it found a bad block.
func (s *Streamer) Distrust(loc index.Location) {
	s.verified.Forget(key(loc))
	s.suspects.forget()
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
	data, err := s.read(ctx, index.Record{Digest: d, Location: loc, Offset: e.Offset, Length: e.Size})
	if err != nil {
		data, err = s.otherCopy(ctx, d, err)
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
	data, err := s.data(ctx, d, s.containing)
	if err != nil {
		return block.Block{}, err
	}
	b = block.Block{CID: d.CID(cid.Raw), Data: data}
	if len(data) <= 256<<10 {
		s.cache.Set(d, b)
	}
	return b, nil
}

// data returns the verified bytes of d from the first copy that has them.
func (s *Streamer) data(ctx context.Context, d, containing digest.Digest) ([]byte, error) {
	var failed error
	for rec, err := range s.index.Places(ctx, d, containing) {
		if err != nil {
			return nil, err
		}
		data, err := s.read(ctx, rec)
		if err == nil {
			return data, nil
		}
		failed = worse(failed, err)
	}
	if failed != nil {
		return nil, failed
	}
	rec, err := s.rootRecord(ctx, d)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, rec)
}

// rootRecord is the place of a block that has no record of its own: a
// multiple-level index knows a root only by its plan.
func (s *Streamer) rootRecord(ctx context.Context, d digest.Digest) (index.Record, error) {
	for p, err := range s.index.Plans(ctx, d) {
		if err != nil {
			return index.Record{}, err
		}
		e, seg, err := p.Entry(ctx, p.First())
		if err != nil {
			return index.Record{}, err
		}
		return p.Record(ctx, e, seg)
	}
	return index.Record{}, fmt.Errorf("streamer: block %s: %w", d, fs.ErrNotExist)
}

// otherCopy returns the verified bytes of d from a copy that is not in
// quarantine, or the error that made another one necessary.
func (s *Streamer) otherCopy(ctx context.Context, d digest.Digest, failed error) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, failed
	}
	data, err := s.data(ctx, d, digest.Digest{})
	if err != nil {
		return nil, worse(failed, err)
	}
	return data, nil
}

// worse keeps the error that tells more: corruption over absence, anything over nothing.
func worse(a, b error) error {
	if a == nil || errors.Is(a, fs.ErrNotExist) && !errors.Is(b, fs.ErrNotExist) {
		return b
	}
	return a
}

// read returns the bytes of a record, verified.
func (s *Streamer) read(ctx context.Context, rec index.Record) ([]byte, error) {
	if rec.Length > block.MaxSize {
		return nil, fmt.Errorf("streamer: block %s of %d bytes: %w", rec.Digest, rec.Length, block.ErrTooLarge)
	}
	obj, err := s.get(ctx, rec.Location, rec.Offset, rec.Length)
	if err != nil {
		return nil, err
	}
	defer obj.Close()
	data := make([]byte, rec.Length)
	if _, err := io.ReadFull(obj, data); err != nil {
		err = fmt.Errorf("streamer: read %s in %s: %w", rec.Digest, rec.Location, truncated(err))
		return nil, s.distrust(ctx, rec.Digest, rec.Location, obj, err)
	}
	if err := s.check(ctx, rec, data); err != nil {
		return nil, s.distrust(ctx, rec.Digest, rec.Location, obj, err)
	}
	s.verified.Add(key(rec.Location), obj.Info().Version, rec.Offset, rec.Length)
	return data, nil
}

// truncated makes an early end what it is here: bytes that are not those promised.
func truncated(err error) error {
	if errors.Is(err, blob.ErrChanged) {
		return err
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF || errors.Is(err, blob.ErrRange) {
		return fmt.Errorf("%w: %w", digest.ErrMismatch, io.ErrUnexpectedEOF)
	}
	return err
}

// check hashes data unless verification is left to others. Where the hash
// function is unknown nothing can be said, so nothing is served.
func (s *Streamer) check(ctx context.Context, rec index.Record, data []byte) error {
	if s.o.Verify == VerifyNever && !s.suspects.has(ctx, s.index, rec.Location) {
		return nil
	}
	select {
	case s.hashing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := rec.Digest.Verify(data)
	<-s.hashing
	if s.o.Trace.Verified != nil {
		s.o.Trace.Verified(1, int64(len(data)), err)
	}
	return err
}

// distrust reports a copy that is corrupt and returns err. A raw file that was changed
// while it was read is not corrupt: what was meant is gone.
func (s *Streamer) distrust(ctx context.Context, d digest.Digest, loc index.Location, obj blob.Object, err error) error {
	if err == nil || !errors.Is(err, digest.ErrMismatch) {
		return err
	}
	if changed := recheck(obj); changed != nil {
		return fmt.Errorf("streamer: %s: %w", loc, changed)
	}
	s.places.Invalidate(d)
	if s.o.Quarantine != nil {
		s.o.Quarantine(context.WithoutCancel(ctx), d, loc, err)
	}
	s.suspects.add(loc)
	return fmt.Errorf("streamer: %s: %w", loc, err)
}
