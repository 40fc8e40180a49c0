package node

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/blob/cacheblob"
	"github.com/hashstream/hashstream/blob/cloudblob"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/outboard"
	"github.com/hashstream/hashstream/streamer"
)

// segmentBytes is about what a decoded plan segment takes in memory.
const segmentBytes = 128 << 10

// patience is how long a command waits for another one, which may add for hours. It
// says that it waits, and can be interrupted.
const patience = 24 * time.Hour

// open opens the stores of c as o says.
func open(ctx context.Context, c config.Config, o opening) (_ *Stores, err error) {
	s := &Stores{log: o.log}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.Packs, err = s.openPacks(ctx, c, o); err != nil {
		return nil, err
	}
	keys, err := s.openKeys(ctx, c, o)
	if err != nil {
		return nil, err
	}
	s.KV = keys
	s.Index = index.New(s.KV, &index.Options{CachedSegments: int(c.Cache.Plans / segmentBytes)})
	if s.Sources, err = backends.NewSources(c.Sources.Roots, o.backend()); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.Sources)
	so := &streamer.Options{Verify: streamer.Verify(c.Verify.Mode), CacheBytes: int64(c.Cache.Blocks), Quarantine: s.quarantine, Files: s.Sources, Trees: outboard.New(s.KV, nil)}
	if o.metrics != nil {
		so.Trace = traced(o)
	}
	s.Streamer = streamer.New(s.Index, s.Packs, so)
	return s, nil
}

// backend is what every backend is told.
func (o opening) backend() *backends.Options {
	b := &backends.Options{Logger: o.log}
	if m := o.metrics; m != nil {
		b.Cloud = &cloudblob.Trace{Request: func(ctx context.Context, r cloudblob.Request) {
			m.BucketRequest(ctx, r.Op, r.Status, r.Retry, r.Sent, r.Received, r.Wait)
		}}
	}
	return b
}

func (s *Stores) openKeys(ctx context.Context, c config.Config, o opening) (kv.Store, error) {
	options := backends.IndexOptions{Notify: o.notify, Own: o.owner, Options: backends.Options{Logger: o.log}}
	if !o.owner {
		options.Wait = patience
	}
	x, err := backends.OpenIndex(ctx, c, &options)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, x)
	s.node = x.Node
	if o.metrics != nil {
		return o.metrics.KV("index", x), nil
	}
	return x, nil
}

func (s *Stores) openPacks(ctx context.Context, c config.Config, o opening) (blob.Store, error) {
	g, closer, err := backends.Getter(ctx, c.Home, c.Store.Packs, o.backend())
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, closer)
	if g, err = s.cached(c, o, g); err != nil {
		return nil, err
	}
	if o.metrics != nil {
		g = o.metrics.Blob("packs", g)
	}
	if store, ok := g.(blob.Store); ok {
		return store, nil
	}
	stater, ok := g.(streamer.Store)
	if !ok {
		return nil, fmt.Errorf("node: packs %s cannot be described: %w", config.Redact(c.Store.Packs), fs.ErrInvalid)
	}
	return readOnly{stater}, nil
}

// cached puts a cache on disk before packs in a bucket, if this is a node that is to have one.
func (s *Stores) cached(c config.Config, o opening, g blob.Getter) (blob.Getter, error) {
	inner, ok := g.(blob.Store)
	if !o.owner || c.Cache.Disk == 0 || !ok || !backends.InBucket(c.Store.Packs) {
		return g, nil
	}
	dir := c.Cache.DiskDir
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(c.Home, dir)
	}
	cache, err := cacheblob.Open(dir, &cacheblob.Options{Size: int64(c.Cache.Disk), Trace: o.cacheTrace()})
	if err != nil {
		return nil, fmt.Errorf("node: cache.disk_dir: %w", err)
	}
	s.closers = append(s.closers, cache)
	store := cache.Wrap(config.Redact(c.Store.Packs), inner, &cacheblob.WrapOptions{Immutable: true})
	s.cache, _ = store.(interface {
		Forget(ctx context.Context, key string)
	})
	return store, nil
}

// cacheTrace counts lookups and logs failures, which cost nothing but time.
func (o opening) cacheTrace() *cacheblob.Trace {
	t := &cacheblob.Trace{}
	if o.metrics != nil {
		hit, miss := o.metrics.Cache("disk")
		t.Page = func(_ context.Context, found bool, _ int) {
			if found {
				hit()
			} else {
				miss()
			}
		}
	}
	if o.log != nil {
		t.Error = func(ctx context.Context, err error) { o.log.WarnContext(ctx, "cache", "error", err) }
	}
	return t
}

// readOnly is a store that others write.
type readOnly struct{ streamer.Store }

func (readOnly) refuse(what string) error {
	return fmt.Errorf("node: %s: the pack store can only be read: %w", what, fs.ErrPermission)
}

func (r readOnly) Put(context.Context, string, io.Reader) error { return r.refuse("put") }
func (r readOnly) Delete(context.Context, string) error         { return r.refuse("delete") }

func (r readOnly) List(context.Context, string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) { yield(blob.Info{}, r.refuse("list")) }
}

// writable reports whether packs can be listed and changed.
func (s *Stores) writable() bool {
	_, no := s.Packs.(readOnly)
	return !no
}

// traced counts what the streamer does.
func traced(o opening) streamer.Trace {
	hit, miss := o.metrics.Cache("blocks")
	planned, walked := o.metrics.Cache("plan")
	count := func(yes, no func()) func(bool) {
		return func(is bool) {
			if is {
				yes()
			} else {
				no()
			}
		}
	}
	return streamer.Trace{
		Cache:   count(hit, miss),
		Planned: count(planned, walked),
		Verified: func(blocks int, bytes int64, err error) {
			if err != nil {
				o.metrics.VerifyFailed()
				return
			}
			o.metrics.BlocksVerified(blocks, bytes)
		},
	}
}
