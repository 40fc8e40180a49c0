package pipeline

import (
	"context"
	"fmt"
	"maps"
	"sync"
)

// What a task may count: bounds of its record.
const (
	maxCounts    = 32
	maxCountName = 64
)

type countsKey struct{}

// counts is what a handler counted so far.
type counts struct {
	mu  sync.Mutex
	m   map[string]int64
	err error
}

// Count adds n to a counter of the task whose handler was called with ctx. The
// counters are stored when the task is done, once for each task, so that the sums in
// [Status] are exact however often tasks ran; those of failed runs count nothing. A
// task may have up to 32 counters with names of 1 to 64 bytes; more make it fail.
// Without a task, Count does nothing.
func Count(ctx context.Context, name string, n int64) {
	c, ok := ctx.Value(countsKey{}).(*counts)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.m[name]; !ok && (name == "" || len(name) > maxCountName || len(c.m) == maxCounts) {
		c.err = Permanent(fmt.Errorf("counter %.70q is one of too many, or its name too long", name))
		return
	}
	c.m[name] += n
}

// take returns what was counted until now.
func (c *counts) take() (map[string]int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.m), c.err
}
