package index

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Node is the next block of a DAG in depth-first order.
type Node struct {
	CID       cid.Cid  // undefined if it is known only when the node is closed
	Pack      int      // ordinal of the pack that holds it, if Location is zero
	Location  Location // where it is, if it was there before
	Offset    int64    // of the block's bytes
	Size      int64    // of the block's bytes
	FileBytes int64    // file content the block itself carries, not its children
	Entity    bool     // the root of a file or directory
	Directory bool     // the entity is not one file
	Folded    bool     // a duplicate whose children do not follow again
	Unframed  bool     // the location holds the bytes without the CAR frame of this CID
	Recorded  bool     // the record of the block at its location is stored already
}

// Builder records one DAG while its packs are being written. Blocks are opened
// in depth-first order and closed when their children are done; packs are named
// when they are durable. Nothing that the Builder wrote is found before Finish,
// except blocks of packs that are durable.
//
// Entries leave memory as soon as their packs are named and their CIDs known, so
// memory is bound by the packs that are open, not by the DAG. The first error
// sticks and is returned by every later call that can fail.
type Builder struct {
	store   kv.Store
	level   Level
	id      planID
	err     error
	started bool // the intent is stored

	count    int64 // entries so far
	position int64 // file bytes so far
	open     []*subtree
	segments map[int64]*draftSegment // not yet stored
	packs    []Location              // by ordinal; zero until named
	loose    bool
	entities []containingPut // waiting for the next write
	root     digest.Digest   // of the entity closed last: in the end, of the DAG
	refs     map[Location]ref
	batch    []kv.Op
	bytes    int // in batch
}

// subtree is a node whose children are being added.
type subtree struct {
	entry int64
	node  Node
	containing
	earliest int64 // smallest first occurrence of any duplicate
}

// draftSegment is a segment whose entries are not all known.
type draftSegment struct {
	Segment
	open    int   // entries that are not closed
	packs   []int // by entry: its pack, or -1
	places  []Location
	written []bool // block record stored
}

type containingPut struct {
	root digest.Digest
	containing
}

const (
	maxBatch = 1 << 20 // bytes of keys and values in one batch
	maxRefs  = 1 << 10
)

// NewBuilder returns a Builder that writes the records of level to store.
func NewBuilder(store kv.Store, level Level) *Builder {
	b := &Builder{store: store, level: level, segments: map[int64]*draftSegment{}, refs: map[Location]ref{}}
	rand.Read(b.id[:])
	return b
}

// Plan returns the id of the plan that is built: 16 bytes.
func (b *Builder) Plan() [16]byte { return b.id }

// Loose tells that from here on a block may be stored twice without being marked
// a duplicate, because the writer no longer remembers all that it has written.
func (b *Builder) Loose() { b.loose = true }

// Open adds the next block. The blocks below it follow until Close. It returns
// the entry's number: 0 for the root, then counting up.
func (b *Builder) Open(n Node) int {
	if len(b.open) > maxDepth {
		b.fail(fmt.Errorf("index: DAG is deeper than %d links", maxDepth))
	}
	entry := b.count
	seg := b.segment(entry)
	seg.add(n, len(b.open))
	t := &subtree{entry: entry, node: n, earliest: math.MaxInt64}
	t.first, t.position = entry, b.position
	b.open = append(b.open, t)
	b.count++
	b.position += n.FileBytes
	return int(entry)
}

// segment returns the draft that takes entry, begun if entry is its first.
func (b *Builder) segment(entry int64) *draftSegment {
	number := entry / SegmentEntries
	seg := b.segments[number]
	if seg == nil {
		seg = &draftSegment{Segment: Segment{Number: number, Position: b.position}}
		for _, t := range b.open {
			seg.Ancestors = append(seg.Ancestors, t.entry)
		}
		b.segments[number] = seg
	}
	return seg
}

func (s *draftSegment) add(n Node, depth int) {
	e := Entry{Depth: depth, Offset: n.Offset, Size: n.Size, FileBytes: n.FileBytes, First: -1, Framed: !n.Unframed, Entity: n.Entity}
	pack := n.Pack
	if n.Location != (Location{}) {
		pack = -1
	}
	s.Entries = append(s.Entries, e)
	s.packs = append(s.packs, pack)
	s.places = append(s.places, n.Location)
	s.written = append(s.written, n.Recorded)
	s.open++
}

// Close ends the block that was opened last, whose number is entry. c is its CID.
// first is the number of the entry where the same block occurred first, or -1.
// Identity blocks are entries too, which take no space.
func (b *Builder) Close(entry int, c cid.Cid, first int) {
	if b.err != nil {
		return
	}
	if len(b.open) == 0 || b.open[len(b.open)-1].entry != int64(entry) {
		b.fail(fmt.Errorf("index: entry %d closed out of turn", entry))
		return
	}
	t := b.open[len(b.open)-1]
	b.open = b.open[:len(b.open)-1]
	d, err := digest.FromCID(c)
	if err != nil {
		b.fail(fmt.Errorf("index: entry %d: %w", entry, err))
		return
	}
	seg := b.segments[t.entry/SegmentEntries]
	e := &seg.Entries[t.entry-seg.First()]
	e.cid = c.KeyString()
	if _, inline := d.Inline(); inline {
		e.Source = -1
	} else {
		t.tally(e, int64(first))
	}
	seg.open--
	b.closeSubtree(t, d)
}

// tally counts the subtree's own block.
func (t *subtree) tally(e *Entry, first int64) {
	t.repeated += e.Section()
	if first < 0 {
		t.sections += e.Section()
		return
	}
	e.First, e.Source = first, -1 // its bytes are found by its first occurrence
	t.earliest = min(t.earliest, first)
	if t.node.Folded {
		t.flags |= containingFolded
	}
}

func (b *Builder) closeSubtree(t *subtree, d digest.Digest) {
	t.count = b.count - t.first
	t.fileBytes = b.position - t.position
	if b.loose {
		t.flags |= containingLoose
	}
	if !t.node.Directory {
		t.flags |= containingFile
	}
	if t.earliest < t.first {
		t.flags |= containingBorrow
	}
	if t.first == 0 || t.node.Entity && t.count > 1 {
		b.entities = append(b.entities, containingPut{d, t.containing})
	}
	if len(b.open) == 0 {
		return
	}
	parent := b.open[len(b.open)-1]
	parent.sections += t.sections
	parent.repeated += t.repeated
	parent.earliest = min(parent.earliest, t.earliest)
	parent.flags |= t.flags & (containingFolded | containingLoose)
}

// Packed tells that pack number n is durable under d, and stores what is known
// by it: the pack's location, the records of its blocks, and every segment whose
// packs all have names.
func (b *Builder) Packed(ctx context.Context, n int, d digest.Digest) error {
	if n >= len(b.packs) {
		b.packs = append(b.packs, make([]Location, n+1-len(b.packs))...)
	}
	b.packs[n] = Location{Pack: d}
	return b.save(ctx)
}

// save stores everything that is complete, segments in order.
func (b *Builder) save(ctx context.Context) error {
	b.begin(ctx)
	for _, number := range slices.Sorted(maps.Keys(b.segments)) {
		seg := b.segments[number]
		whole := seg.open == 0 && (len(seg.Entries) == SegmentEntries || len(b.open) == 0 && b.count > 0)
		for i := range seg.Entries {
			loc := seg.location(i, b.packs)
			if seg.Entries[i].cid == "" || seg.Entries[i].Source >= 0 && loc == (Location{}) {
				whole = false
				continue
			}
			b.putBlock(ctx, seg, i, loc)
		}
		if whole {
			b.putSegment(ctx, seg)
			delete(b.segments, number)
		}
	}
	b.putEntities(ctx)
	b.flush(ctx)
	return b.err
}

// location returns where entry i is, zero while that is not known.
func (s *draftSegment) location(i int, packs []Location) Location {
	if n := s.packs[i]; n >= 0 {
		if n < len(packs) {
			return packs[n]
		}
		return Location{}
	}
	return s.places[i]
}

// begin stores the intent, by which an abandoned plan is recognised.
func (b *Builder) begin(ctx context.Context) {
	if b.started || !b.level.plans() {
		return
	}
	b.started = true
	b.put(ctx, kv.Put(intentKey(b.id), binary.AppendUvarint(nil, uint64(time.Now().Unix()))))
}

func (b *Builder) putBlock(ctx context.Context, seg *draftSegment, i int, loc Location) {
	e := &seg.Entries[i]
	if seg.written[i] || e.Source < 0 {
		return
	}
	seg.written[i] = true
	if !b.level.blocks() {
		return
	}
	d, err := entryDigest(e)
	if err != nil {
		b.fail(err)
		return
	}
	b.put(ctx, kv.Put(blockKey(d, b.ref(ctx, loc)), place{e.Offset, e.Size}.encode()))
}

// ref names a location and makes sure that the name is stored.
func (b *Builder) ref(ctx context.Context, loc Location) ref {
	if r, ok := b.refs[loc]; ok {
		return r
	}
	r := loc.ref()
	b.put(ctx, kv.Put(locationKey(r), loc.Encode()))
	if len(b.refs) >= maxRefs {
		clear(b.refs)
	}
	b.refs[loc] = r
	return r
}

func entryDigest(e *Entry) (digest.Digest, error) {
	c, err := e.CID()
	if err != nil {
		return digest.Digest{}, err
	}
	return digest.FromCID(c)
}

func (b *Builder) putSegment(ctx context.Context, s *draftSegment) {
	if !b.level.plans() {
		return
	}
	sources := map[ref]int{}
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Source < 0 {
			continue
		}
		r := b.ref(ctx, s.location(i, b.packs))
		n, ok := sources[r]
		if !ok {
			n = len(s.Sources)
			sources[r] = n
			s.Sources = append(s.Sources, r)
		}
		e.Source = n
	}
	b.put(ctx, kv.Put(segmentKey(b.id, s.Number), s.encode()))
}

// putEntities stores the containing records. They may be stored before their
// segments: nobody believes them before the plan is complete.
func (b *Builder) putEntities(ctx context.Context) {
	for _, p := range b.entities {
		if b.level.plans() {
			b.put(ctx, kv.Put(containingKey(p.root, b.id), p.encode()))
			b.root = p.root
		}
	}
	b.entities = b.entities[:0]
}
