package cacheblob

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/hashstream/hashstream/blob"
)

// Store is a store behind a [Cache]. It implements [blob.Store] and [blob.Conditional].
// What is not a read goes to the inner store.
type Store struct {
	blob.Store // the inner one

	cache     *Cache
	name      string
	immutable bool
	anonymous atomic.Bool // the inner store was seen not to identify its objects
}

var (
	_ blob.Store       = (*Store)(nil)
	_ blob.Conditional = (*Store)(nil)
)

type drafter struct {
	*Store
	blob.Drafter
}

// Put stores what r yields under key.
func (s *Store) Put(ctx context.Context, key string, r io.Reader) error {
	defer s.changing(ctx, key)()
	return s.Store.Put(ctx, key, r)
}

// Delete removes key.
func (s *Store) Delete(ctx context.Context, key string) error {
	defer s.changing(ctx, key)()
	return s.Store.Delete(ctx, key)
}

// changing returns what forgets an immutable object that changes nevertheless. Others are
// compared when they are read.
func (s *Store) changing(ctx context.Context, key string) func() {
	if !s.immutable {
		return func() {}
	}
	i, err := s.Store.Stat(ctx, key)
	if err != nil {
		return func() {}
	}
	return func() { s.forget(key, i.Size) }
}

// Forget forgets what the cache has of key. Whoever finds that it is wrong calls this: the
// inner store may have been wrong when it was read, and be mended since.
func (s *Store) Forget(ctx context.Context, key string) {
	if i, err := s.Store.Stat(ctx, key); err == nil {
		s.forget(key, i.Size)
	}
}

// Get opens n bytes of key from offset off. An object whose pages are all on disk implements
// [io.WriterTo].
func (s *Store) Get(ctx context.Context, key string, off, n int64) (blob.Object, error) {
	return s.get(ctx, key, "", off, n)
}

// GetIf is Get on the condition that the object has the given identity.
func (s *Store) GetIf(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if identity == "" {
		return nil, fmt.Errorf("cacheblob: get %s: no identity to compare: %w", key, fs.ErrInvalid)
	}
	return s.get(ctx, key, identity, off, n)
}

func (s *Store) get(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if off < 0 || n == 0 || blob.CheckKey(key) != nil || len(key) > maxString || s.anonymous.Load() || ctx.Err() != nil {
		return s.fetch(ctx, key, identity, off, n)
	}
	first := s.id(key, off/s.pageSize())
	for {
		o, err := s.cached(ctx, key, identity, off, n)
		if o != nil || err != nil {
			return o, err
		}
		done := s.cache.join(first)
		if done == nil {
			break
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, fmt.Errorf("cacheblob: get %s: %w", key, context.Cause(ctx))
		}
	}
	defer s.cache.leave(first)
	// Somebody may have kept it between the look and the turn.
	if o, err := s.cached(ctx, key, identity, off, n); o != nil || err != nil {
		return o, err
	}
	return s.fresh(ctx, key, identity, off, n)
}

func (s *Store) pageSize() int64 { return int64(s.cache.options.PageSize) }

// fetch asks the inner store.
func (s *Store) fetch(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	if identity == "" {
		return s.Store.Get(ctx, key, off, n)
	}
	if c, ok := s.Store.(blob.Conditional); ok {
		return c.GetIf(ctx, key, identity, off, n)
	}
	o, err := s.Store.Get(ctx, key, off, n)
	if err == nil && o.Info().Identity != identity {
		o.Close()
		return nil, fmt.Errorf("cacheblob: get %s: %w", key, blob.ErrChanged)
	}
	return o, err
}

// cached opens an object whose first page of the range is on disk, and still the same. It
// returns nil if there is none.
func (s *Store) cached(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	at := s.id(key, off/s.pageSize())
	p := s.open(ctx, key, off/s.pageSize())
	if p == nil {
		return nil, nil
	}
	info := p.header.info
	if !s.immutable {
		now, err := s.Store.Stat(ctx, key)
		if err != nil {
			s.cache.close(p)
			return nil, err
		}
		if !same(now, info) {
			s.cache.close(p)
			s.cache.drop(ctx, at, nil)
			return nil, nil
		}
		info = now
	}
	if differs := identity != "" && info.Identity != identity; differs || off > info.Size {
		s.cache.close(p)
		if differs && !s.immutable {
			return nil, fmt.Errorf("cacheblob: get %s: %w", key, blob.ErrChanged)
		}
		return nil, nil // the inner store shall say it
	}
	o := s.object(ctx, info, off, n)
	o.take(p, true)
	for i := off / s.pageSize(); i*s.pageSize() < o.end; i++ {
		if !s.cache.has(s.id(key, i)) {
			return o, nil
		}
	}
	return fileObject{o}, nil
}

// fresh asks the inner store for the range, widened to pages, and keeps the first.
func (s *Store) fresh(ctx context.Context, key, identity string, off, n int64) (blob.Object, error) {
	start, want := s.missing(key, off, n)
	run, err := s.fetch(ctx, key, identity, start, want)
	if err != nil {
		return nil, err
	}
	info := run.Info()
	if !s.immutable && info.Identity == "" || !fits(s.name, info) {
		run.Close()
		s.anonymous.Store(info.Identity == "")
		return s.fetch(ctx, key, identity, off, n)
	}
	if off >= info.Size { // at the end nothing is to be kept
		run.Close()
		return s.fetch(ctx, key, identity, off, n)
	}
	o := s.object(ctx, info, off, n)
	o.run, o.at, o.runEnd = run, start, min(start+want, info.Size)
	if err := o.fill(); err != nil {
		o.Close()
		return nil, err
	}
	return o, nil
}

// missing is the range of pages from that of off that are wanted and not on disk, at most
// maxRun of them. Negative n is to the end.
func (s *Store) missing(key string, off, n int64) (start, want int64) {
	size := s.pageSize()
	first := off / size
	last := first + 1
	for last-first < maxRun && (n < 0 || last*size-off < n) && !s.cache.has(s.id(key, last)) {
		last++
	}
	return first * size, (last - first) * size
}
