package index

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"sort"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/kv"
)

// Plan is the ordered blocks of one DAG and their places. Entries are numbered
// within the plan that they were written in, of which this may be a part.
type Plan struct {
	Root digest.Digest
	id   planID
	containing
	index *Index
}

// Plans yields the complete plans of the DAG below d.
func (x *Index) Plans(ctx context.Context, d digest.Digest) iter.Seq2[Plan, error] {
	return func(yield func(Plan, error) bool) {
		prefix := keysOf(keyContaining, d)
		for pair, err := range x.store.Scan(ctx, kv.Prefix(prefix)) {
			var p Plan
			if err == nil {
				p, err = x.plan(ctx, d, pair)
			}
			if errors.Is(err, fs.ErrNotExist) {
				continue // abandoned before it was complete, or removed
			}
			if err != nil {
				yield(Plan{}, fmt.Errorf("index: find plan of %s: %w", d, err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

func (x *Index) plan(ctx context.Context, d digest.Digest, pair kv.Pair) (Plan, error) {
	c, err := decodeContaining(pair.Value)
	if err != nil {
		return Plan{}, err
	}
	p := Plan{Root: d, id: suffix(pair.Key), containing: c, index: x}
	_, err = x.store.Get(ctx, planKey(p.id))
	return p, err
}

// ID tells this plan from others of the same root: 16 bytes.
func (p Plan) ID() [16]byte { return p.id }

// First is the number of the root's entry.
func (p Plan) First() int64 { return p.first }

// End is the number after the last entry.
func (p Plan) End() int64 { return p.first + p.count }

// Position is the number of file bytes in the plan before the first entry.
func (p Plan) Position() int64 { return p.position }

// File reports whether the DAG is one file.
func (p Plan) File() bool { return p.flags&containingFile != 0 }

// FileBytes is the size of all file content below the root.
func (p Plan) FileBytes() int64 { return p.fileBytes }

// Sections returns the size of the CAR sections of the DAG, each block once, and
// whether the entries tell for certain which blocks repeat.
func (p Plan) Sections() (int64, bool) { return p.sections, p.flags&containingLoose == 0 }

// Borrows reports that a block of the DAG is marked as a duplicate of an entry
// outside of it, so that [Plan.Sections] and the extents leave it out.
func (p Plan) Borrows() bool { return p.flags&containingBorrow != 0 }

// Repeated returns the size of the CAR sections of the DAG, each block as often
// as it occurs, and whether the entries hold every occurrence.
func (p Plan) Repeated() (int64, bool) { return p.repeated, p.flags&containingFolded == 0 }

// Segment returns the segment that holds an entry.
func (p Plan) Segment(ctx context.Context, entry int64) (*Segment, error) {
	at := segmentAt{p.id, entry / SegmentEntries}
	if s, ok := p.index.segments.GetIfPresent(at); ok {
		return s, nil
	}
	b, err := p.index.store.Get(ctx, segmentKey(p.id, at.number))
	if err != nil {
		return nil, fmt.Errorf("index: plan of %s, segment %d: %w", p.Root, at.number, err)
	}
	s, err := decodeSegment(at.number, b)
	if err != nil {
		return nil, fmt.Errorf("index: plan of %s: %w", p.Root, err)
	}
	p.index.segments.Set(at, s)
	return s, nil
}

// Entry returns one entry and the segment that holds it.
func (p Plan) Entry(ctx context.Context, number int64) (Entry, *Segment, error) {
	s, err := p.Segment(ctx, number)
	if err != nil {
		return Entry{}, nil, err
	}
	i := number - s.First()
	if i < 0 || i >= int64(len(s.Entries)) {
		return Entry{}, nil, fmt.Errorf("index: plan of %s: %w: no entry %d", p.Root, ErrCorrupt, number)
	}
	return s.Entries[i], s, nil
}

// Location returns where the bytes of a source are.
func (p Plan) Location(ctx context.Context, s *Segment, source int) (Location, error) {
	loc, err := p.index.location(ctx, s.Sources[source])
	if err != nil {
		return Location{}, fmt.Errorf("index: plan of %s: location: %w", p.Root, err)
	}
	return loc, nil
}

// Seek returns the number of the entry that carries the file byte at position,
// counted in the file bytes of the whole plan (see [Plan.Position]).
func (p Plan) Seek(ctx context.Context, position int64) (int64, error) {
	lo, hi := p.first/SegmentEntries, (p.End()-1)/SegmentEntries
	var failed error
	// The last segment that begins at or before position has the byte: one whose
	// entries carry none begins where the next one does.
	n := sort.Search(int(hi-lo), func(i int) bool {
		s, err := p.Segment(ctx, (lo+int64(i)+1)*SegmentEntries)
		if err != nil {
			failed = err
			return true
		}
		return s.Position > position
	})
	if failed != nil {
		return 0, failed
	}
	s, err := p.Segment(ctx, (lo+int64(n))*SegmentEntries)
	if err != nil {
		return 0, err
	}
	at := s.Position
	for i, e := range s.Entries {
		if at += e.FileBytes; at > position {
			return s.First() + int64(i), nil
		}
	}
	return 0, fmt.Errorf("index: plan of %s: %w: no entry carries byte %d", p.Root, ErrCorrupt, position)
}

// Records yields a record for every block of the DAG, in order, without repeats.
func (p Plan) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for number := p.first; number < p.End(); number++ {
			e, s, err := p.Entry(ctx, number)
			if err == nil && e.First >= p.first {
				continue
			}
			var r Record
			if err == nil {
				r, err = p.Record(ctx, e, s)
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Record returns the record of an entry of s.
func (p Plan) Record(ctx context.Context, e Entry, s *Segment) (Record, error) {
	d, err := entryDigest(&e)
	if err != nil {
		return Record{}, err
	}
	r := Record{Digest: d, Type: Blob, Offset: e.Offset, Length: e.Size}
	if e.First >= 0 {
		if e, s, err = p.Entry(ctx, e.First); err != nil {
			return Record{}, err
		}
		r.Offset = e.Offset
	}
	if e.Source < 0 {
		r.Type = InlineBlob
		return r, nil
	}
	r.Location, err = p.Location(ctx, s, e.Source)
	return r, err
}

// Locations yields every location that the plan's blocks are at, some of them
// more than once.
func (p Plan) Locations(ctx context.Context) iter.Seq2[Location, error] {
	return func(yield func(Location, error) bool) {
		for number := p.first; number < p.End(); number += SegmentEntries - number%SegmentEntries {
			s, err := p.Segment(ctx, number)
			if err != nil {
				yield(Location{}, err)
				return
			}
			for i := range s.Sources {
				loc, err := p.Location(ctx, s, i)
				if !yield(loc, err) || err != nil {
					return
				}
			}
		}
	}
}
