// Package aging is a cache of what others change: an entry counts for a while only.
//
// # Errors
//
// What a load fails with is returned and not remembered.
//
// A Cache is safe for concurrent use. It has nothing to close.
package aging

import (
	"context"
	"time"

	"github.com/maypok86/otter/v2"
)

// Cache remembers values by their keys.
type Cache[K comparable, V any] struct {
	maxAge  time.Duration
	load    func(context.Context, K) (V, error)
	entries *otter.Cache[K, *entry[V]]
}

// entry is a value and when its load began.
type entry[V any] struct {
	at    time.Time
	value V
}

// New returns a cache of at most size values, which load returns and which are used for
// maxAge from the beginning of the load.
func New[K comparable, V any](size int, maxAge time.Duration, load func(context.Context, K) (V, error)) *Cache[K, V] {
	return &Cache[K, V]{maxAge, load, otter.Must(&otter.Options[K, *entry[V]]{MaximumSize: size})}
}

// Value returns the value of key. Concurrent calls load it once, with the context of one
// of them; if that one gives up, another goes on.
func (c *Cache[K, V]) Value(ctx context.Context, key K) (V, error) {
	e, ok := c.entries.GetIfPresent(key)
	if ok && time.Since(e.at) < c.maxAge {
		return e.value, nil
	}
	if ok {
		c.entries.Invalidate(key)
	}
	e, err := c.entries.Get(ctx, key, otter.LoaderFunc[K, *entry[V]](c.enter))
	if err != nil {
		var none V
		return none, err
	}
	return e.value, nil
}

func (c *Cache[K, V]) enter(ctx context.Context, key K) (*entry[V], error) {
	e := &entry[V]{at: time.Now()}
	var err error
	e.value, err = c.load(ctx, key)
	return e, err
}
