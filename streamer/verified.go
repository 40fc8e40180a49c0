package streamer

import (
	"slices"
	"sort"
	"sync"
)

// verified remembers which byte ranges of which objects were hashed and found
// right. What it remembers of an object holds for one version of it.
type verified struct {
	mu      sync.RWMutex
	objects map[string]*checked
	ranges  int // in all objects
}

type checked struct {
	version string
	spans   []span // sorted, neither touching nor overlapping
}

type span struct{ from, to int64 }

// maxRanges bounds the memory of a verified set: 16 bytes a range. Sequential
// reading joins ranges, so only scattered reads ever come near.
const maxRanges = 1 << 20

func newVerified() *verified { return &verified{objects: map[string]*checked{}} }

// covers reports whether n bytes from off of this version were checked.
func (v *verified) covers(key, version string, off, n int64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	c := v.objects[key]
	if c == nil || c.version != version {
		return false
	}
	i := c.search(off)
	return i < len(c.spans) && c.spans[i].from <= off && off+n <= c.spans[i].to
}

// search returns the first span that ends at or after off.
func (c *checked) search(off int64) int {
	return sort.Search(len(c.spans), func(i int) bool { return c.spans[i].to >= off })
}

// add notes that n bytes from off of this version were checked.
func (v *verified) add(key, version string, off, n int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ranges >= maxRanges {
		clear(v.objects)
		v.ranges = 0
	}
	c := v.objects[key]
	if c == nil || c.version != version {
		v.drop(key)
		c = &checked{version: version}
		v.objects[key] = c
	}
	before := len(c.spans)
	s := span{off, off + n}
	i := c.search(s.from)
	j := i
	for ; j < len(c.spans) && c.spans[j].from <= s.to; j++ {
		s = span{min(s.from, c.spans[j].from), max(s.to, c.spans[j].to)}
	}
	c.spans = slices.Replace(c.spans, i, j, s)
	v.ranges += len(c.spans) - before
}

// forget drops what is known of an object.
func (v *verified) forget(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop(key)
}

func (v *verified) drop(key string) {
	if c := v.objects[key]; c != nil {
		v.ranges -= len(c.spans)
		delete(v.objects, key)
	}
}
