// Package layout tells which segments a store consists of, and which of them are to be merged.
//
// A Layout is a value: it is cloned and then changed. It does no I/O but to read the tags of
// segments.
package layout

import (
	"iter"
	"slices"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

// Layout is what a store has on disk.
type Layout struct {
	L0      []*File // segments of the whole range, the oldest first
	Parts   []Part
	Removed *tagset.Set // removed tags, with the generation in which each was
	Gen     uint64      // of the last removal
	Full    int64       // bytes of a segment of the whole range that counts as a full one; 0 is any
}

// Part is a partition: one of the equal parts of the range.
type Part struct {
	Floor uint64  // the last segment of the whole range whose records are in the runs
	Runs  []*File // the oldest first
}

// File is a segment with its place.
type File struct {
	*segment.Segment
	Number uint64
	Bytes  int64
	Level  int       // of a run
	Gen    uint64    // no record has a tag that was removed in this generation or before
	Born   time.Time // when it was written

	Refs int  // versions that hold it, the store's business
	Gone bool // to be deleted when nobody holds it, the store's business

	held []tagset.Span // all its tags, and maybe more; nil if they were not read yet
	dead dead
}

// Clone returns a layout that can be changed without changing l.
func (l Layout) Clone() Layout {
	l.L0, l.Parts = slices.Clone(l.L0), slices.Clone(l.Parts)
	return l
}

// Files yields the segments.
func (l Layout) Files() iter.Seq[*File] {
	return func(yield func(*File) bool) {
		for _, f := range l.L0 {
			if !yield(f) {
				return
			}
		}
		for _, p := range l.Parts {
			for _, f := range p.Runs {
				if !yield(f) {
					return
				}
			}
		}
	}
}

// PartOf returns the number of the partition of a head.
func (l Layout) PartOf(head uint64) int {
	return int(head >> 56 * uint64(len(l.Parts)) >> 8)
}

// Bounds returns the keys of a partition.
func (l Layout) Bounds(i int) valuestore.Range {
	width := 256 / len(l.Parts)
	r := valuestore.Everything()
	r.From[0], r.To[0] = byte(i*width), byte(i*width+width-1)
	return r
}

// Pending returns the segments of the whole range that are not in the runs of partition i.
func (l Layout) Pending(i int) []*File {
	n := 0
	for n < len(l.L0) && l.L0[n].Number <= l.Parts[i].Floor {
		n++
	}
	return l.L0[n:]
}

// Merged reports whether a partition is one run without removed records.
func (l Layout) Merged(i int) bool {
	runs := l.Parts[i].Runs
	return len(l.Pending(i)) == 0 && (len(runs) == 0 || len(runs) == 1 && runs[0].Gen == l.Gen)
}
