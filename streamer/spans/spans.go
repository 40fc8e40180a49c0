// Package spans remembers which byte ranges of which objects were verified, as
// intervals: a whole pack that was read in order takes one.
//
// A [Set] is safe for concurrent use.
package spans

import (
	"slices"
	"sort"
	"sync"
)

// Set is ranges of objects. What it holds of an object is true for one version of
// it. Use [New].
type Set struct {
	mu      sync.RWMutex
	objects map[string]*checked
	ranges  int // in all objects
}

type checked struct {
	version string
	spans   []span // sorted, neither touching nor overlapping
}

type span struct{ from, to int64 }

// maxRanges bounds the memory of a set: 16 bytes a range. Sequential
// reading joins ranges, so only scattered reads ever come near.
const maxRanges = 1 << 20

// New returns an empty set.
func New() *Set { return &Set{objects: map[string]*checked{}} }

// Covers reports whether n bytes from off of this version were added. Of an object
// whose store cannot tell versions, which is the empty one, nothing is covered.
func (s *Set) Covers(key, version string, off, n int64) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := s.objects[key]
	if c == nil || c.version != version || version == "" {
		return false
	}
	i := c.search(off)
	return i < len(c.spans) && c.spans[i].from <= off && off+n <= c.spans[i].to
}

// search returns the first span that ends at or after off.
func (c *checked) search(off int64) int {
	return sort.Search(len(c.spans), func(i int) bool { return c.spans[i].to >= off })
}

// Add adds n bytes from off of this version, and forgets other versions. Of the empty
// version nothing is kept.
func (s *Set) Add(key, version string, off, n int64) {
	if version == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ranges >= maxRanges {
		clear(s.objects)
		s.ranges = 0
	}
	c := s.objects[key]
	if c == nil || c.version != version {
		s.drop(key)
		c = &checked{version: version}
		s.objects[key] = c
	}
	before := len(c.spans)
	joined := span{off, off + n}
	i := c.search(joined.from)
	j := i
	for ; j < len(c.spans) && c.spans[j].from <= joined.to; j++ {
		joined = span{min(joined.from, c.spans[j].from), max(joined.to, c.spans[j].to)}
	}
	c.spans = slices.Replace(c.spans, i, j, joined)
	s.ranges += len(c.spans) - before
}

// Forget removes what is held of an object.
func (s *Set) Forget(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(key)
}

func (s *Set) drop(key string) {
	if c := s.objects[key]; c != nil {
		s.ranges -= len(c.spans)
		delete(s.objects, key)
	}
}
