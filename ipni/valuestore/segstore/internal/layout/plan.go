package layout

import (
	"slices"
)

// What decides on merges. Segments of the whole range count by their bytes, because those of a store
// that is written in bursts are small: merged by their number, each record would be written more often.
// Their number counts where it is large, because each lookup asks all of them.
const (
	Batch  = 6  // full segments of the whole range that are merged at once
	Most   = 18 // of them, before writing waits
	crowd  = 5  // times as many small ones
	fanout = 6  // runs of a level that become one of the next
)

// fill returns how many times n full segments files amount to.
func (l Layout) fill(files []*File, n int) float64 {
	if l.Full == 0 {
		return float64(len(files)) / float64(n)
	}
	var bytes int64
	for _, f := range files {
		bytes += min(f.Bytes, l.Full)
	}
	return max(float64(bytes)/float64(l.Full), float64(len(files))/crowd) / float64(n)
}

// Crowded reports whether no more segments of the whole range are wanted.
func (l Layout) Crowded() bool { return l.fill(l.L0, Most) >= 1 }

// Pinned returns the partitions that keep the oldest segment of the whole range.
func (l Layout) Pinned() (parts []int) {
	for i := range l.Parts {
		if len(l.L0) > 0 && len(l.Pending(i)) == len(l.L0) {
			parts = append(parts, i)
		}
	}
	return parts
}

// Behind returns the partition with most to be merged into it, without those that skip names, or
// -1 if that can wait.
func (l Layout) Behind(skip func(part int) bool) int {
	worst, most := -1, 0.0
	for i := range l.Parts {
		if x := l.fill(l.Pending(i), Batch); x >= 1 && x > most && !skip(i) {
			worst, most = i, x
		}
	}
	return worst
}

// Uneven returns a partition that has yet to merge what others have merged, without those that skip names, or -1.
// The segments of the whole range that it keeps take the space of the others twice.
func (l Layout) Uneven(skip func(part int) bool) int {
	floor := l.floor()
	for i := range l.Parts {
		if p := l.Pending(i); len(p) > 0 && p[0].Number <= floor && !skip(i) {
			return i
		}
	}
	return -1
}

// floor returns the last segment of the whole range that a partition has merged.
func (l Layout) floor() (most uint64) {
	for _, p := range l.Parts {
		most = max(most, p.Floor)
	}
	return most
}

// Next returns the merges of the partition that most needs one, without those that skip names: the best one, and
// those to try if it cannot be done; nil if none needs any. rests says that the store does.
func (l Layout) Next(rests bool, skip func(part int) bool) []Merge {
	if i := l.Behind(skip); i >= 0 {
		return l.Plans(i)
	}
	if i := l.Uneven(skip); rests && i >= 0 {
		return l.Evens(i)
	}
	return nil
}

// Merge is segments that become a run.
type Merge struct {
	Part   int
	Keep   int // runs that stay before the new one
	Runs   int // runs that are merged, those after them
	Level  int // of the new run
	Floor  uint64
	Inputs []*File // the oldest first
}

// merge returns the merge of some runs and pending segments, the first ones.
func (l Layout) merge(i, keep, runs, level int, pending []*File) Merge {
	p := l.Parts[i]
	m := Merge{Part: i, Keep: keep, Runs: runs, Level: level, Floor: p.Floor}
	if len(pending) > 0 {
		m.Floor = pending[len(pending)-1].Number
	}
	m.Inputs = slices.Concat(p.Runs[keep:keep+runs], pending)
	return m
}

// Plan returns the merge of a partition: the segments of the whole range, and with them the runs of the
// first level if there are enough of them, then those of the next.
func (l Layout) Plan(i int) Merge { return l.plan(i, l.Pending(i)) }

func (l Layout) plan(i int, pending []*File) Merge {
	runs := l.Parts[i].Runs
	keep, level := len(runs), 1
	for keep > 0 {
		n := 0
		for n < keep && runs[keep-n-1].Level <= level {
			n++
		}
		if n < fanout-1 {
			break
		}
		keep -= n
		level++
	}
	return l.merge(i, keep, len(runs)-keep, level, pending)
}

// Whole returns the merge of all that a partition has.
func (l Layout) Whole(i int) Merge {
	level := 1
	for _, f := range l.Parts[i].Runs {
		level = max(level, f.Level)
	}
	return l.merge(i, 0, len(l.Parts[i].Runs), level, l.Pending(i))
}

// Plans returns the planned merge of a partition, and then smaller ones that get less far but
// need less room: of segments of the whole range alone, and of fewer of them.
func (l Layout) Plans(i int) []Merge { return l.plans(i, l.Pending(i)) }

// Evens returns as Plans does the merges after which a partition has what others have.
func (l Layout) Evens(i int) []Merge {
	pending, floor := l.Pending(i), l.floor()
	n := 0
	for n < len(pending) && pending[n].Number <= floor {
		n++
	}
	return l.plans(i, pending[:n])
}

func (l Layout) plans(i int, pending []*File) []Merge {
	plans := []Merge{l.plan(i, pending)}
	n := len(pending)
	if plans[0].Runs == 0 {
		n /= 2
	}
	for ; n > 0; n /= 2 {
		plans = append(plans, l.merge(i, len(l.Parts[i].Runs), 0, 1, pending[:n]))
	}
	return plans
}

// Rewrites returns the merge of all that a partition has, and then those of single runs that have
// removed records, the one with most of them first.
func (l Layout) Rewrites(i int) []Merge {
	plans := []Merge{l.Whole(i)}
	for at, f := range l.Parts[i].Runs {
		if f.dead.count > 0 && f.Gen < l.Gen && len(plans[0].Inputs) > 1 {
			plans = append(plans, l.merge(i, at, 1, f.Level, nil))
		}
	}
	slices.SortStableFunc(plans[1:], func(a, b Merge) int { return int(b.Inputs[0].dead.count) - int(a.Inputs[0].dead.count) })
	return plans
}

// Need returns how many bytes a merge writes at most, but for what is surely removed.
func (l Layout) Need(m Merge) (n int64) {
	for i, f := range m.Inputs {
		bytes := f.Bytes
		if total := f.Records(); f.dead.exact && total > 0 {
			bytes = int64(float64(bytes) * float64(total-min(f.dead.count, total)) / float64(total))
		}
		if i >= m.Runs { // of the whole range
			bytes /= int64(len(l.Parts))
		}
		n += bytes
	}
	return n
}

// Apply puts run, which may be nil, into the place of what it was made of.
func (l *Layout) Apply(m Merge, run *File) {
	p := &l.Parts[m.Part]
	after := p.Runs[m.Keep+m.Runs:]
	p.Runs, p.Floor = slices.Clone(p.Runs[:m.Keep]), m.Floor
	if run != nil {
		p.Runs = append(p.Runs, run)
	}
	p.Runs = append(p.Runs, after...)
	floor := p.Floor
	for _, p := range l.Parts {
		floor = min(floor, p.Floor)
	}
	l.L0 = slices.DeleteFunc(l.L0, func(f *File) bool { return f.Number <= floor })
}
