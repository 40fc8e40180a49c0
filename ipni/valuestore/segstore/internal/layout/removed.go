package layout

import (
	"errors"
	"slices"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

// dead is what a segment has of removed tags, as of a generation.
type dead struct {
	gen   uint64
	count uint64        // records
	exact bool          // count is not an estimate, and no tag but those in tags is there
	tags  []tagset.Span // the removed tags that it has, and maybe more
}

// uncounted is how many tags a segment has at least that does not say which.
const uncounted = 1 << 20

// counter finds out what segments have of removed tags.
type counter struct {
	Layout
	since map[uint64][]tagset.Span
}

// Count looks at the segments of which it is not known what they have of removed tags. Read is called
// before bytes are read, and may wait; an error from it ends the counting. What cannot be read is told
// in the end, and nobody knows what it has. One goroutine at a time counts.
func (l Layout) Count(read func(n int64) error) error {
	c := counter{l, map[uint64][]tagset.Span{}}
	var failed error
	for f := range l.Files() {
		if f.dead.gen == l.Gen || f.Gen == l.Gen {
			continue
		}
		if f.held != nil && !tagset.Overlap(c.removedSince(max(f.dead.gen, f.Gen)), f.held) {
			f.dead.gen = l.Gen
			continue
		}
		if err := read(f.TagBytes()); err != nil {
			return err
		}
		if err := c.count(f); err != nil {
			f.dead = dead{gen: l.Gen}
			failed = errors.Join(failed, err)
		}
	}
	return failed
}

func (c counter) removedSince(gen uint64) []tagset.Span {
	spans, ok := c.since[gen]
	if !ok {
		spans = c.Removed.Since(gen)
		c.since[gen] = spans
	}
	return spans
}

func (c counter) count(f *File) error {
	d := dead{gen: c.Gen}
	if f.Sample() == 0 {
		var tags uint64
		for _, s := range c.removedSince(f.Gen) {
			tags += uint64(s.To-s.From) + 1
		}
		d.count = uint64(float64(f.Records()) * float64(min(tags, uncounted)) / uncounted)
		f.dead = d
		return nil
	}
	var held, gone tagset.Cover
	spans := c.Removed.Spans()
	for t, err := range f.Tags() {
		if err != nil {
			return err
		}
		held.Add(t.Tag)
		for len(spans) > 0 && spans[0].To < t.Tag {
			spans = spans[1:]
		}
		if len(spans) > 0 && spans[0].From <= t.Tag {
			d.count += t.Count
			gone.Add(t.Tag)
		}
	}
	if d.exact = f.Sample() == 1; d.exact {
		d.tags, f.held = gone.Spans(), held.Spans()
	} else {
		d.count = min(d.count*f.Sample(), f.Records())
		f.held = []tagset.Span{{To: valuestore.MaxTag}}
	}
	f.dead = d
	return nil
}

// removed returns how many records of f are removed, and those that say that others are gone.
func (l Layout) removed(f *File) uint64 {
	n := f.Segment.Gone()
	if f.Gen < l.Gen {
		n += f.dead.count
	}
	return min(n, f.Records())
}

// MostlyDead returns a partition of which a quarter is records that are removed, or say that others are
// gone, without those that skip names; or -1. It looks from a partition on, so that each has its
// turn. Count was called before.
func (l Layout) MostlyDead(from int, skip func(part int) bool) int {
	for n := range l.Parts {
		i := (from + n) % len(l.Parts)
		var dead, records uint64
		count := func(files []*File, share uint64) {
			for _, f := range files {
				dead += l.removed(f) / share
				records += f.Records() / share
			}
		}
		count(l.Parts[i].Runs, 1)
		count(l.Pending(i), uint64(len(l.Parts)))
		if dead > 0 && dead*4 >= records && !skip(i) {
			return i
		}
	}
	return -1
}

// Oldest returns the partition with the segment that was written first, of those that were written before
// a time and may have removed records; or -1. Tags are remembered for its sake.
func (l Layout) Oldest(before time.Time, skip func(part int) bool) int {
	oldest := -1
	for i, p := range l.Parts {
		for _, f := range slices.Concat(p.Runs, l.Pending(i)) {
			clean := f.Gen == l.Gen || f.dead.exact && f.dead.count == 0
			if !clean && f.Born.Before(before) && !skip(i) {
				oldest, before = i, f.Born
			}
		}
	}
	return oldest
}

// Needed tells which removed tags are to be remembered for the sake of segments: those in spans, and all
// that were removed after a generation.
func (l Layout) Needed() (spans []tagset.Span, after uint64) {
	after = l.Gen
	var lists [][]tagset.Span
	for f := range l.Files() {
		if f.Gen == l.Gen {
			continue
		}
		if !f.dead.exact || f.dead.gen != l.Gen {
			after = min(after, f.Gen)
		} else {
			lists = append(lists, f.dead.tags)
		}
	}
	return tagset.Union(lists...), after
}
