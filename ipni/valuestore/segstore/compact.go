package segstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// merger merges segments until the store is closed.
func (s *Store) merger() {
	for s.ctx.Err() == nil {
		did, err := s.mergeOnce()
		s.report(merging, err)
		if did || err != nil {
			continue
		}
		select {
		case <-s.merges:
		case <-s.ctx.Done():
		}
	}
}

// mergeOnce does the merge that is most needed. It returns false if none is.
func (s *Store) mergeOnce() (bool, error) {
	s.merging.Lock()
	defer s.merging.Unlock()
	v := s.acquire()
	defer s.release(v)
	if i := v.behind(); i >= 0 {
		return true, s.merge(v, i, false)
	}
	if len(v.removed) == 0 {
		return false, nil
	}
	return s.reclaim(v)
}

// behind returns the partition with most segments to be merged into it, or -1 if that
// can wait.
func (v *version) behind() int {
	worst, most := -1, l0Merge-1
	for i, p := range v.parts {
		if n := len(v.pending(p)); n > most {
			worst, most = i, n
		}
	}
	return worst
}

// merge makes a run of the segments of the whole range, and of runs of the partition: of those of the
// first level if they are [fanout] with it, then of those of the next, or of all.
func (s *Store) merge(v *version, i int, all bool) error {
	p := v.parts[i]
	pending := v.pending(p)
	first, level := len(p.runs), 1
	for first > 0 && !all {
		n := 0
		for n < first && p.runs[first-n-1].level <= level {
			n++
		}
		if n < fanout-1 {
			break
		}
		first -= n
		level++
	}
	if all {
		first = 0
		for _, f := range p.runs {
			level = max(level, f.level)
		}
	}
	inputs := append(slices.Clone(p.runs[first:]), pending...)
	sources, err := scanAll(inputs, v.bounds(i), true)
	defer closeAll(sources)
	if err != nil {
		return err
	}
	f, err := s.writeSegment(v, sources, level, first == 0, s.pace)
	if err != nil {
		return err
	}
	err = s.edit(func(v *version) {
		runs := slices.Clone(v.parts[i].runs[:first])
		if f != nil {
			runs = append(runs, f)
		}
		v.parts[i].runs = runs
		if len(pending) > 0 {
			v.parts[i].floor = pending[len(pending)-1].number
		}
		v.dropMerged()
	})
	if err != nil {
		s.drop(f)
	}
	s.flushes.raise()
	return err
}

// dropMerged drops the segments of the whole range that every partition has in its runs.
func (v *version) dropMerged() {
	floor := ^uint64(0)
	for _, p := range v.parts {
		floor = min(floor, p.floor)
	}
	v.l0 = slices.DeleteFunc(v.l0, func(f *file) bool { return f.number <= floor })
}

// pace waits until a merge may write n bytes.
func (s *Store) pace(n int) error {
	if s.limit == nil {
		return s.ctx.Err()
	}
	return s.limit.WaitN(s.ctx, n)
}

// Compact makes a segment of what is in memory, and then one run of each partition: for
// benchmarks, and before a store is copied.
func (s *Store) Compact(ctx context.Context) error {
	if err := s.readable(ctx); err != nil {
		return err
	}
	if err := s.flushAll(ctx); err != nil {
		return fmt.Errorf("segstore: compact: %w", err)
	}
	s.merging.Lock()
	defer s.merging.Unlock()
	var group errgroup.Group
	group.SetLimit(min(runtime.GOMAXPROCS(0), 4))
	for i := range s.parts() {
		group.Go(func() error { return s.mergeAll(ctx, i) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("segstore: compact: %w", err)
	}
	return nil
}

func (s *Store) parts() int {
	v := s.acquire()
	defer s.release(v)
	return len(v.parts)
}

// mergeAll leaves one run of a partition, if that is not so.
func (s *Store) mergeAll(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := s.acquire()
	defer s.release(v)
	p := v.parts[i]
	if len(v.pending(p)) == 0 && (len(p.runs) == 0 || len(p.runs) == 1 && p.runs[0].gen == v.gen) {
		return nil
	}
	return s.merge(v, i, true)
}

// flushAll makes segments of what was written before.
func (s *Store) flushAll(ctx context.Context) error {
	if err := s.queue.add(ctx, &operation{kind: opFlush}); err != nil {
		return err
	}
	v := s.acquire()
	defer s.release(v)
	for {
		s.mu.Lock()
		left := slices.ContainsFunc(s.current.tables, func(t *table) bool { return slices.Contains(v.tables[1:], t) })
		err, changed := errors.Join(s.health[:]...), s.changed
		s.mu.Unlock()
		if !left || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ctx.Done():
			return fs.ErrClosed
		}
	}
}

// deadRecords is what a segment holds of removed tags, as of a generation.
type deadRecords struct {
	gen   uint64
	count uint64
	tags  []valuestore.Tag
	all   bool // nobody knows: it may be any of them
}

// countDead finds out what f holds of the removed tags of v. Only the merger calls it.
func (f *file) countDead(v *version) error {
	if f.dead.gen == v.gen || f.gen == v.gen {
		return nil
	}
	tags, known, err := f.Tags()
	if err != nil {
		return err
	}
	d := deadRecords{gen: v.gen, all: !known}
	for _, t := range tags {
		if gen, removed := v.removed[t.Tag]; removed && gen > f.gen {
			d.count += t.Count
			d.tags = append(d.tags, t.Tag)
		}
	}
	if d.all {
		d.count = f.Records()
	}
	f.dead = d
	return nil
}

// reclaim merges the partition of which a quarter is removed records, and forgets the tags
// that no segment has.
func (s *Store) reclaim(v *version) (bool, error) {
	for f := range v.files() {
		if err := f.countDead(v); err != nil {
			return false, err
		}
	}
	for i, p := range v.parts {
		var dead, records uint64
		for _, f := range p.runs {
			if f.gen < v.gen {
				dead += f.dead.count
			}
			records += f.Records()
		}
		for _, f := range v.pending(p) {
			if f.gen < v.gen {
				dead += f.dead.count / uint64(len(v.parts))
			}
			records += f.Records() / uint64(len(v.parts))
		}
		if dead > 0 && dead*4 >= records {
			return true, s.merge(v, i, true)
		}
	}
	return false, s.forget(v)
}

// forget drops the removed tags of which no segment and no table has records.
func (s *Store) forget(v *version) error {
	needed := map[valuestore.Tag]bool{}
	unknown := ^uint64(0) // removals after this generation are needed
	for _, t := range v.tables {
		unknown = min(unknown, t.gen)
	}
	for f := range v.files() {
		if f.gen == v.gen {
			continue
		}
		if f.dead.all {
			unknown = min(unknown, f.gen)
		}
		for _, tag := range f.dead.tags {
			needed[tag] = true
		}
	}
	var drop []valuestore.Tag
	for tag, gen := range v.removed {
		if gen <= unknown && !needed[tag] {
			drop = append(drop, tag)
		}
	}
	if len(drop) == 0 {
		return nil
	}
	seen := v.gen
	return s.edit(func(v *version) {
		removed := make(map[valuestore.Tag]uint64, len(v.removed))
		for tag, gen := range v.removed {
			removed[tag] = gen
		}
		for _, tag := range drop {
			if removed[tag] <= seen {
				delete(removed, tag)
			}
		}
		v.removed = removed
	})
}
