package index

import (
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/car"
)

// SegmentEntries is the number of entries in every segment of a plan but the
// last. It is fixed, so that an entry's segment is known by division.
const SegmentEntries = 1024

// maxDepth bounds the depth of a planned DAG, and with it a segment's header.
const maxDepth = 255

// Entry is one occurrence of a block in a plan.
type Entry struct {
	Depth     int   // links from the root of the plan
	Source    int   // index into [Segment.Sources]; -1 for a duplicate, and for an inline (identity) block, which has no bytes anywhere
	Offset    int64 // of the block's bytes in its location
	Size      int64 // of the block's bytes
	FileBytes int64 // file content that the block itself carries
	First     int64 // the entry where the same block occurs first, -1 if here
	Framed    bool  // the location holds varint and CID, exactly as a CAR needs them, before the bytes
	Entity    bool  // the root of a file or directory
	cid       string
}

// CID returns the block's CID as it is linked.
func (e Entry) CID() (cid.Cid, error) {
	c, err := cid.Cast([]byte(e.cid))
	if err != nil {
		return cid.Undef, fmt.Errorf("%w: plan: %v", ErrCorrupt, err)
	}
	return c, nil
}

// CIDBytes returns the binary CID.
func (e Entry) CIDBytes() string { return e.cid }

// As returns the entry under another CID of its digest, for which the location
// holds no frame.
func (e Entry) As(c cid.Cid) Entry {
	e.cid, e.Framed = c.KeyString(), false
	return e
}

// Head is the size in bytes of the CAR section's frame: varint and CID.
func (e Entry) Head() int64 { return car.HeadSizeLen(len(e.cid), e.Size) }

// Section is the size in bytes of the CAR section: frame and block.
func (e Entry) Section() int64 { return e.Head() + e.Size }

// Start is where the bytes that the location holds for the entry begin: its frame
// if that is there, else the block.
func (e *Entry) Start() int64 {
	if e.Framed {
		return e.Offset - e.Head()
	}
	return e.Offset
}

// End is where they end.
func (e *Entry) End() int64 { return e.Offset + e.Size }

// Segment is a part of a plan: up to [SegmentEntries] consecutive entries.
type Segment struct {
	Number    int64
	Position  int64   // file bytes carried by all entries of the plan before this segment
	Ancestors []int64 // entry numbers of the open ancestors of the first entry, root first
	Sources   []ref
	Entries   []Entry
	gaps      []int // the entries whose section does not stand right after that of the entry before
}

// First is the number of the segment's first entry.
func (s *Segment) First() int64 { return s.Number * SegmentEntries }

// Stretch returns the end of the entries from entry i of this segment on whose
// sections stand one after the other in one location: i itself if that entry has
// no whole section of its own there.
func (s *Segment) Stretch(i int) int {
	if !s.Entries[i].whole() {
		return i
	}
	if n := sort.SearchInts(s.gaps, i+1); n < len(s.gaps) {
		return s.gaps[n]
	}
	return len(s.Entries)
}

// findGaps prepares [Segment.Stretch].
func (s *Segment) findGaps() {
	for i := 1; i < len(s.Entries); i++ {
		if e, before := &s.Entries[i], &s.Entries[i-1]; !e.whole() || !before.whole() || e.Source != before.Source || e.Start() != before.End() {
			s.gaps = append(s.gaps, i)
		}
	}
}

// whole reports whether the location holds the entry's whole CAR section.
func (e *Entry) whole() bool { return e.Source >= 0 && e.First < 0 && e.Framed }

const segmentVersion = 1

// The bits of an entry's flag byte.
const (
	entryDuplicate = 1 << iota // First follows
	entrySource                // the source changes; its index follows
	entryOffset                // the offset follows; else the section stands right after the previous one
	entryFileBytes             // the file bytes follow; else all of a raw block, none of another
	entryEntity
	entryUnframed
	entryInline
)

// encode returns the segment's value; docs/formats/plan.md has its grammar.
func (s *Segment) encode() []byte {
	b := make([]byte, 0, 64+len(s.Entries)*46)
	b = append(b, segmentVersion)
	b = binary.AppendUvarint(b, uint64(s.Position))
	b = binary.AppendUvarint(b, uint64(len(s.Ancestors)))
	for _, a := range s.Ancestors {
		b = binary.AppendUvarint(b, uint64(a))
	}
	b = binary.AppendUvarint(b, uint64(len(s.Sources)))
	for _, r := range s.Sources {
		b = append(b, r[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.Entries)))
	var prev cursor
	for _, e := range s.Entries {
		b = prev.append(b, e)
	}
	return b
}

// cursor predicts an entry from the one before it.
type cursor struct {
	source int
	end    int64 // where the next section would start
}

func (c *cursor) append(b []byte, e Entry) []byte {
	flags := c.flags(e)
	b = append(b, flags)
	b = binary.AppendUvarint(b, uint64(e.Depth))
	b = append(b, e.cid...)
	b = binary.AppendUvarint(b, uint64(e.Size))
	if flags&entryDuplicate != 0 {
		b = binary.AppendUvarint(b, uint64(e.First))
	}
	if flags&entrySource != 0 {
		b = binary.AppendUvarint(b, uint64(e.Source))
	}
	if flags&entryOffset != 0 {
		b = binary.AppendUvarint(b, uint64(e.Offset))
	}
	if flags&entryFileBytes != 0 {
		b = binary.AppendUvarint(b, uint64(e.FileBytes))
	}
	c.advance(e)
	return b
}

func (c *cursor) flags(e Entry) (flags byte) {
	set := func(bit byte, on bool) {
		if on {
			flags |= bit
		}
	}
	placed := e.Source >= 0
	set(entryInline, !placed && e.First < 0)
	set(entryDuplicate, e.First >= 0)
	set(entryEntity, e.Entity)
	set(entryFileBytes, e.FileBytes != impliedFileBytes(e.cid, e.Size))
	if placed {
		set(entrySource, e.Source != c.source)
		set(entryOffset, e.Source != c.source || e.Offset != c.end+e.Head())
		set(entryUnframed, !e.Framed)
	}
	return flags
}

func (c *cursor) advance(e Entry) {
	if e.Source >= 0 {
		c.source, c.end = e.Source, e.Offset+e.Size
	}
}

// impliedFileBytes is what most blocks carry: a raw leaf all of its bytes,
// anything else none.
func impliedFileBytes(c string, size int64) int64 {
	if len(c) > 1 && c[0] == 1 && c[1] == cid.Raw {
		return size
	}
	return 0
}

func decodeSegment(number int64, b []byte) (*Segment, error) {
	d := decoder{b: string(b)}
	if v := d.byte(); v != segmentVersion && d.err == nil {
		return nil, fmt.Errorf("%w: plan segment of version %d", ErrCorrupt, v)
	}
	s := &Segment{Number: number, Position: d.int()}
	s.Ancestors = make([]int64, d.count(maxDepth+1))
	for i := range s.Ancestors {
		s.Ancestors[i] = d.int()
	}
	s.Sources = make([]ref, d.count(SegmentEntries))
	for i := range s.Sources {
		copy(s.Sources[i][:], d.take(len(ref{})))
	}
	s.Entries = make([]Entry, d.count(SegmentEntries))
	var prev cursor
	for i := range s.Entries {
		s.Entries[i] = prev.decode(&d, len(s.Sources))
	}
	if d.err == nil && (d.b != "" || len(s.Entries) == 0) {
		d.fail("%d bytes after %d entries", len(d.b), len(s.Entries))
	}
	if d.err != nil {
		return nil, fmt.Errorf("index: plan segment %d: %w", number, d.err)
	}
	s.findGaps()
	return s, nil
}

func (c *cursor) decode(d *decoder, sources int) Entry {
	flags := d.byte()
	e := Entry{Depth: d.index(maxDepth + 1), First: -1, Source: c.source, Framed: flags&entryUnframed == 0, Entity: flags&entryEntity != 0}
	e.cid = d.cid()
	e.Size = d.int()
	if flags&entryDuplicate != 0 {
		e.First = d.int()
	}
	if flags&entrySource != 0 {
		e.Source = d.index(sources)
	}
	if e.Offset = c.end + e.Head(); flags&entryOffset != 0 {
		e.Offset = d.int()
	}
	if flags&(entryInline|entryDuplicate) != 0 {
		e.Source, e.Offset = -1, 0
	} else if e.Source >= sources {
		d.fail("entry without a source")
	}
	if e.FileBytes = impliedFileBytes(e.cid, e.Size); flags&entryFileBytes != 0 {
		e.FileBytes = d.int()
	}
	if want := c.flags(e); want != flags && d.err == nil {
		d.fail("an entry with the flags %#x instead of %#x", flags, want)
	}
	c.advance(e)
	return e
}
