package segstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/layout"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/oplog"
	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/view"
)

// merger merges segments until the store is closed.
func (s *Store) merger() {
	for s.ctx.Err() == nil {
		did, again := s.mergeOnce()
		if did {
			continue
		}
		var due <-chan time.Time
		if again > 0 {
			due = time.After(again)
		}
		select {
		case <-s.merges:
		case <-due:
		case <-s.ctx.Done():
		}
	}
}

// mergeOnce does the merge that is most needed, of those that did not just fail. If none is, it returns
// false, and when that may change by itself; 0 is never.
func (s *Store) mergeOnce() (did bool, again time.Duration) {
	s.merging.Lock()
	defer s.merging.Unlock()
	v := s.acquire()
	defer s.release(v)
	wait := s.resting(v)
	if plans := v.Next(wait == 0, s.waits); len(plans) > 0 {
		s.mergeFirst(v, plans)
		return true, 0
	}
	did, again = s.tidy(v)
	return did, soonest(soonest(again, wait), s.nextTry())
}

// soonest returns the lesser of two waits, of which 0 is none.
func soonest(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// resting returns when to ask again whether the store rests, 0 if it does. While it is written, partitions
// need not have merged the same segments: merges of more of them at once write less.
func (s *Store) resting(v *version) time.Duration {
	if len(v.Tables) > 1 || s.worthSegment(v.Tables[0]) {
		return rest
	}
	if n := len(v.L0); n > 0 {
		return max(rest-time.Since(v.L0[n-1].Born), 0)
	}
	return 0
}

// mergeFirst does the first merge of a partition that can be done, and reports that another one would have been better.
func (s *Store) mergeFirst(v *version, plans []layout.Merge) {
	i := plans[0].Part
	var best error
	for _, plan := range plans {
		err := s.merge(v, plan)
		if best == nil {
			best = err
		}
		if err == nil {
			s.report(i, true, best)
			return
		}
		if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, digest.ErrMismatch) {
			break // others would not fare better
		}
	}
	s.report(i, false, best)
}

// merge does a merge, if there is room for it.
func (s *Store) merge(v *version, plan layout.Merge) error {
	giveBack, err := s.reserve.Claim(v.Need(plan))
	if err != nil {
		return err
	}
	defer giveBack()
	sources, err := view.Sources(plan.Inputs, v.Bounds(plan.Part), true)
	defer view.Close(sources)
	if err != nil {
		return err
	}
	f, err := s.writeSegment(v, sources, plan.Level, plan.Keep == 0, s.pace)
	if err != nil {
		return err
	}
	if err := s.edit(f, func(v *version) { v.Apply(plan, f) }); err != nil {
		return err
	}
	s.flushes.raise()
	return nil
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
	return s.merge(v, v.Whole(i))
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
		left := slices.ContainsFunc(s.current.Tables, func(t *memory) bool { return slices.Contains(v.Tables[1:], t) })
		err, changed := s.hopeless(), s.changed
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
