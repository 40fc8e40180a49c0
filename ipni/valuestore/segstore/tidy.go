package segstore

import (
	"errors"
	"time"

	"github.com/hashstream/hashstream/ipni/valuestore/segstore/internal/tagset"
)

// Removed records go with merges. Where none comes, their space is won back, and what was removed is
// forgotten, by looking at what segments have of removed tags, with little of the machine.
const (
	tidyEvery   = time.Second         // at most
	tidyShare   = 9                   // times as long as it took, the merger does something else
	tagRate     = 8 << 20             // bytes of tags that are read in a second
	remember    = 30 * 24 * time.Hour // after which a segment is written again for the sake of its tags alone
	rememberMax = 1 << 18             // spans of removed tags; with more, all segments are old
	tidyAgain   = time.Hour
)

var errBusy = errors.New("segstore: there is something to merge")

// tidy does a merge for the sake of removed records. If there is nothing to be done it returns false, and
// when there may be.
func (s *Store) tidy(v *version) (did bool, again time.Duration) {
	begun := time.Now()
	again = s.tidied.Sub(begun)
	due := again <= 0
	var unread error
	if due && !v.Removed.Empty() {
		if unread = v.Count(s.readTags); errors.Is(unread, errBusy) || s.ctx.Err() != nil {
			return true, 0
		}
	}
	if i := v.MostlyDead(s.turn, s.waits); i >= 0 {
		s.turn = (i + 1) % len(v.Parts)
		s.mergeFirst(v, v.Rewrites(i))
		return true, 0
	}
	if v.Removed.Empty() || !due {
		return false, max(again, 0)
	}
	s.report(counting, true, errors.Join(unread, s.forget(v)))
	s.tidied = time.Now().Add(max(tidyEvery, tidyShare*time.Since(begun)))
	return s.renew(v), tidyAgain
}

// readTags waits until n bytes of tags may be read.
func (s *Store) readTags(n int64) error {
	for n > 0 {
		part := min(n, tagRate)
		if err := s.tagLimit.WaitN(s.ctx, int(part)); err != nil {
			return err
		}
		n -= part
	}
	v := s.acquire()
	defer s.release(v)
	if v.Behind(s.waits) >= 0 {
		return errBusy
	}
	return nil
}

// forget drops the removed tags of which nothing is left.
func (s *Store) forget(v *version) error {
	needed, after := v.Needed()
	some := func(set *tagset.Set) (*tagset.Set, bool) {
		rest := set.Keep(after, needed)
		return rest, rest.Len() < set.Flat().Len()
	}
	if _, ok := some(v.Removed); !ok {
		return nil
	}
	for _, t := range v.Tables { // which may have records of tags that were removed after it was begun
		if t.Gen < v.Gen {
			needed = tagset.Union(needed, t.Tags(v.Removed.Flat().Has))
		}
	}
	s.removing.Lock()
	defer s.removing.Unlock()
	s.mu.Lock()
	now := s.current.Removed
	s.mu.Unlock()
	rest, ok := some(now)
	if !ok {
		return nil
	}
	return s.edit(nil, func(v *version) { v.Removed = rest })
}

// renew merges the partition that was written longest ago, if that is long, so that its removed tags can be forgotten.
func (s *Store) renew(v *version) bool {
	begun := time.Now()
	if begun.Before(s.renewed) {
		return false
	}
	before := begun.Add(-remember)
	if v.Removed.Size() > rememberMax {
		before = begun
	}
	i := v.Oldest(before, s.waits)
	if i < 0 {
		return false
	}
	s.mergeFirst(v, v.Rewrites(i))
	s.renewed = time.Now().Add(tidyShare * time.Since(begun))
	return true
}
