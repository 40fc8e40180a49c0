package layout

import (
	"maps"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// dead is what a segment has of removed tags, as of a generation.
type dead struct {
	gen   uint64
	count uint64
	tags  []valuestore.Tag
	all   bool // nobody knows: it may be any of them
}

// Remove adds tags to those that are removed.
func (l *Layout) Remove(tags []valuestore.Tag) {
	l.Gen++
	l.Removed = maps.Clone(l.Removed)
	for _, tag := range tags {
		l.Removed[tag] = l.Gen
	}
}

// CountDead finds out what the segments have of removed tags. One goroutine at a time calls it.
func (l Layout) CountDead() error {
	for f := range l.Files() {
		if f.dead.gen == l.Gen || f.Gen == l.Gen {
			continue
		}
		tags, known, err := f.Tags()
		if err != nil {
			return err
		}
		d := dead{gen: l.Gen, all: !known}
		for _, t := range tags {
			if gen, removed := l.Removed[t.Tag]; removed && gen > f.Gen {
				d.count += t.Count
				d.tags = append(d.tags, t.Tag)
			}
		}
		if d.all {
			d.count = f.Records()
		}
		f.dead = d
	}
	return nil
}

// MostlyDead returns a partition of which a quarter is removed records, or -1. CountDead
// was called before.
func (l Layout) MostlyDead() int {
	for i, p := range l.Parts {
		var dead, records uint64
		count := func(files []*File, share uint64) {
			for _, f := range files {
				if f.Gen < l.Gen {
					dead += f.dead.count / share
				}
				records += f.Records() / share
			}
		}
		count(p.Runs, 1)
		count(l.Pending(i), uint64(len(l.Parts)))
		if dead > 0 && dead*4 >= records {
			return i
		}
	}
	return -1
}

// Forgettable returns the removed tags of which no segment has records, and that were
// removed in a generation up to clean: after it, there may be records in memory. CountDead
// was called before.
func (l Layout) Forgettable(clean uint64) (tags []valuestore.Tag) {
	needed := map[valuestore.Tag]bool{}
	for f := range l.Files() {
		if f.Gen == l.Gen {
			continue
		}
		if f.dead.all {
			clean = min(clean, f.Gen)
		}
		for _, tag := range f.dead.tags {
			needed[tag] = true
		}
	}
	for tag, gen := range l.Removed {
		if gen <= clean && !needed[tag] {
			tags = append(tags, tag)
		}
	}
	return tags
}

// Forget drops removed tags, unless they were removed again after a generation.
func (l *Layout) Forget(tags []valuestore.Tag, until uint64) {
	l.Removed = maps.Clone(l.Removed)
	for _, tag := range tags {
		if l.Removed[tag] <= until {
			delete(l.Removed, tag)
		}
	}
}
