package segstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
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
	if i := v.Behind(); i >= 0 {
		return true, s.merge(v, i, false)
	}
	if len(v.Removed) == 0 {
		return false, nil
	}
	if err := v.CountDead(); err != nil {
		return false, err
	}
	if i := v.MostlyDead(); i >= 0 {
		return true, s.merge(v, i, true)
	}
	return false, s.forget(v)
}

// merge does the planned merge of a partition, or one of all its runs.
func (s *Store) merge(v *version, i int, all bool) error {
	plan := v.Plan(i, all)
	sources, err := scanAll(plan.Inputs, v.Bounds(i), true)
	defer closeAll(sources)
	if err != nil {
		return err
	}
	f, err := s.writeSegment(v, sources, plan.Level, plan.Keep == 0, s.pace)
	if err != nil {
		return err
	}
	if err := s.edit(func(v *version) { v.Apply(plan, f) }); err != nil {
		s.drop(f)
		return err
	}
	s.flushes.raise()
	return nil
}

// forget drops the removed tags of which nothing is left.
func (s *Store) forget(v *version) error {
	clean := v.Gen
	for _, t := range v.tables {
		clean = min(clean, t.gen)
	}
	tags := v.Forgettable(clean)
	if len(tags) == 0 {
		return nil
	}
	return s.edit(func(now *version) { now.Forget(tags, v.Gen) })
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
	return len(v.Parts)
}

// mergeAll leaves one run of a partition, if that is not so.
func (s *Store) mergeAll(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v := s.acquire()
	defer s.release(v)
	if v.Merged(i) {
		return nil
	}
	return s.merge(v, i, true)
}

// flushAll makes segments of what was written before.
func (s *Store) flushAll(ctx context.Context) error {
	if err := s.queue.Do(ctx, &oplog.Operation{Kind: oplog.Flush}); err != nil {
		return err
	}
	v := s.acquire()
	defer s.release(v)
	for {
		s.mu.Lock()
		left := slices.ContainsFunc(s.current.tables, func(t *memory) bool { return slices.Contains(v.tables[1:], t) })
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
