// Package cacheblob keeps what was read from a slow store, a bucket, on a local disk.
//
// A [Cache] is a directory of bounded size; [Cache.Wrap] puts it before a store, and several
// stores may share it. Objects are kept in pages of fixed size, each in a file that
// describes itself and carries a checksum; what is damaged is fetched again, and never
// served. Pages that a read lacks are fetched by one request of the inner store for each
// run of them, and readers of one page wait for one fetch of it. The pages that were
// used least and longest ago go first. A cache survives restarts. One process uses a
// directory at a time.
//
// A full or broken disk costs the cache, not the read: what cannot be kept is passed on, and
// [Trace.Error] is told.
//
// # Freshness
//
// Each Get of what is cached asks the inner store by Stat whether the object is still the
// same, unless [WrapOptions.Immutable] says that keys never get another content. Objects
// without an identity ([blob.Info.Identity]) are kept only of immutable stores. An immutable
// object that others delete is served until its pages go.
//
// # Memory
//
// A reader that fetches holds one page; the index takes some 200 bytes for each page on disk.
//
// # Errors
//
// Those of the inner store. An object that changes while it is read gives an error that
// matches [blob.ErrChanged].
//
// Caches and stores are safe for concurrent use.
package cacheblob

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/hashstream/hashstream/blob"
)

const (
	defaultSize     = 10 << 30
	defaultPageSize = 1 << 20
	maxPageSize     = 64 << 20
	diskBlock       = 4096
	maxRun          = 1024 // pages that one request fetches
	// bypass is how long nothing is written after the disk refused to take it.
	bypass = 10 * time.Second
)

// Options tunes a [Cache].
type Options struct {
	// Size is how many bytes the files may take, not counting those being written.
	// Default 10 GiB.
	Size int64
	// PageSize is the size in bytes of what is fetched and kept at once, at most
	// 64 MiB. Pages of another size than before are forgotten in time. Default 1 MiB.
	PageSize int
	// Trace is told what happens. Default: nothing.
	Trace *Trace
}

// Trace is told what a cache does. Each hook may be nil, and is called by several goroutines.
type Trace struct {
	// Page is called for each page that is read: from disk (hit) or from the inner store.
	Page func(ctx context.Context, hit bool, bytes int)
	// Error is called when the disk fails, or holds a damaged page.
	Error func(ctx context.Context, err error)
}

// Cache is a directory of pages.
type Cache struct {
	dir     *os.Root
	lock    *os.File
	options Options
	index   *otter.Cache[id, *entry]
	buffers sync.Pool // *[]byte of a page

	mu      sync.Mutex
	flights map[id]chan struct{} // pages being fetched
	refused time.Time            // when the disk refused to take a page
}

// Open opens the cache in dir and creates the directory if it is absent.
func Open(dir string, o *Options) (*Cache, error) {
	c := &Cache{flights: map[id]chan struct{}{}}
	if o != nil {
		c.options = *o
	}
	if err := c.options.check(); err != nil {
		return nil, fmt.Errorf("cacheblob: open: %w", err)
	}
	c.buffers.New = func() any {
		b := make([]byte, c.options.PageSize)
		return &b
	}
	if err := c.openDir(dir); err != nil {
		return nil, fmt.Errorf("cacheblob: open: %w", err)
	}
	index, err := otter.New(&otter.Options[id, *entry]{
		MaximumWeight: uint64(c.options.Size),
		Weigher:       func(_ id, e *entry) uint32 { return e.weight },
		Executor:      func(f func()) { f() }, // the disk is no larger than we say
		OnDeletion: func(e otter.DeletionEvent[id, *entry]) {
			if e.WasEvicted() {
				c.dir.Remove(e.Key.path())
			}
		},
	})
	if err == nil {
		c.index = index
		err = c.load()
	}
	if err != nil {
		c.closeDir()
		return nil, fmt.Errorf("cacheblob: open: %w", err)
	}
	return c, nil
}

func (o *Options) check() error {
	if o.Size <= 0 {
		o.Size = defaultSize
	}
	if o.PageSize <= 0 {
		o.PageSize = defaultPageSize
	}
	if o.PageSize > maxPageSize || int64(o.PageSize) > o.Size {
		return fmt.Errorf("pages of %d bytes in a cache of %d: %w", o.PageSize, o.Size, fs.ErrInvalid)
	}
	if o.Trace == nil {
		o.Trace = &Trace{}
	}
	return nil
}

func (c *Cache) openDir(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if c.dir, err = os.OpenRoot(dir); err != nil {
		return err
	}
	if c.lock, err = c.dir.OpenFile(".lock", os.O_RDWR|os.O_CREATE, 0o600); err == nil {
		err = lock(c.lock)
	}
	if err != nil {
		c.closeDir()
	}
	return err
}

func (c *Cache) closeDir() {
	if c.lock != nil {
		c.lock.Close()
	}
	c.dir.Close()
}

// Close ends the use of the directory. Objects that are open fetch what they lack.
func (c *Cache) Close() error {
	c.index.StopAllGoroutines()
	c.closeDir()
	return nil
}

// Size is how many bytes the files take.
func (c *Cache) Size() int64 { return int64(c.index.WeightedSize()) }

func (c *Cache) report(ctx context.Context, err error) {
	if c.options.Trace.Error != nil {
		c.options.Trace.Error(ctx, err)
	}
}

// join returns nil to the one who is to fetch a page, and calls leave after it; to others
// a channel that is closed then.
func (c *Cache) join(at id) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if done, ok := c.flights[at]; ok {
		return done
	}
	c.flights[at] = make(chan struct{})
	return nil
}

func (c *Cache) leave(at id) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.flights[at])
	delete(c.flights, at)
}

// WrapOptions tunes a store behind a cache.
type WrapOptions struct {
	// Immutable says that a key never gets another content, as keys that are digests.
	Immutable bool
}

// Wrap puts the cache before a store. Name tells it from other stores of the same cache,
// also later. The result implements [blob.Conditional], and [blob.Drafter] if inner does.
func (c *Cache) Wrap(name string, inner blob.Store, o *WrapOptions) blob.Store {
	s := &Store{Store: inner, cache: c, name: name}
	if o != nil {
		s.immutable = o.Immutable
	}
	if d, ok := inner.(blob.Drafter); ok {
		return drafter{s, d}
	}
	return s
}
