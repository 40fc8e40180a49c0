// Package layout tells which segments a store consists of, and which of them are to be merged.
//
// A Layout is a value: it is cloned and then changed. It does no I/O but to read the tags of
// segments.
package layout

import (
	"iter"
	"slices"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/segment"
)

// Counts that decide on merges.
const (
	Batch  = 6  // segments of the whole range that are merged at once
	Most   = 18 // of them, before writing waits
	fanout = 6  // runs of a level that become one of the next
)

// Layout is what a store has on disk.
type Layout struct {
	L0      []*File // segments of the whole range, the oldest first
	Parts   []Part
	Removed map[valuestore.Tag]uint64 // removed tags, to the generation in which each was; replaced, not changed
	Gen     uint64                    // of the last removal
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
	Level  int    // of a run
	Gen    uint64 // no record has a tag that was removed in this generation or before

	Refs int  // versions that hold it, the store's business
	Gone bool // to be deleted when nobody holds it, the store's business
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

// Behind returns the partition with most segments to be merged into it, or -1 if that
// can wait.
func (l Layout) Behind() int {
	worst, most := -1, Batch-1
	for i := range l.Parts {
		if n := len(l.Pending(i)); n > most {
			worst, most = i, n
		}
	}
	return worst
}

// Merge is segments that become a run.
type Merge struct {
	Part   int
	Keep   int // runs that stay, the first ones
	Level  int // of the new run
	Floor  uint64
	Inputs []*File // the oldest first
}

// Plan returns the merge of a partition: the segments of the whole range, and with them the runs of the
// first level if there are enough of them, then those of the next; or all runs.
func (l Layout) Plan(i int, all bool) Merge {
	p, pending := l.Parts[i], l.Pending(i)
	m := Merge{Part: i, Keep: len(p.Runs), Level: 1, Floor: p.Floor}
	for m.Keep > 0 && !all {
		n := 0
		for n < m.Keep && p.Runs[m.Keep-n-1].Level <= m.Level {
			n++
		}
		if n < fanout-1 {
			break
		}
		m.Keep -= n
		m.Level++
	}
	if all {
		m.Keep = 0
		for _, f := range p.Runs {
			m.Level = max(m.Level, f.Level)
		}
	}
	if len(pending) > 0 {
		m.Floor = pending[len(pending)-1].Number
	}
	m.Inputs = slices.Concat(p.Runs[m.Keep:], pending)
	return m
}

// Apply puts run, which may be nil, into the place of what it was made of.
func (l *Layout) Apply(m Merge, run *File) {
	p := &l.Parts[m.Part]
	p.Runs, p.Floor = slices.Clone(p.Runs[:m.Keep]), m.Floor
	if run != nil {
		p.Runs = append(p.Runs, run)
	}
	floor := p.Floor
	for _, p := range l.Parts {
		floor = min(floor, p.Floor)
	}
	l.L0 = slices.DeleteFunc(l.L0, func(f *File) bool { return f.Number <= floor })
}

// Merged reports whether a partition is one run without removed records.
func (l Layout) Merged(i int) bool {
	runs := l.Parts[i].Runs
	return len(l.Pending(i)) == 0 && (len(runs) == 0 || len(runs) == 1 && runs[0].Gen == l.Gen)
}
