package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/origin"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/pipeline"
)

// Indexer indexes content where it is.
type Indexer struct {
	*origin.Indexer
	Pipeline *pipeline.Pipeline
	queue    io.Closer
}

// Indexer opens the queue of c and returns what puts tasks into it and does them. The
// caller closes it.
func (s *Stores) Indexer(ctx context.Context, c config.Config, o *origin.Options, trace pipeline.Trace) (*Indexer, error) {
	q, closer, err := backends.Queue(ctx, c.Pipeline.Queue)
	if err != nil {
		return nil, err
	}
	p := pipeline.New(s.KV, q, &pipeline.Options{Concurrency: c.Pipeline.Concurrency, Trace: trace})
	stores := origin.Stores{KV: s.KV, Index: s.Index, Destination: s.Destination, RemovePack: s.removePack}
	return &Indexer{origin.New(stores, s.Sources.Open, p, o), p, closer}, nil
}

// Close lets go of the queue.
func (x *Indexer) Close() error { return x.queue.Close() }

// Run scans a source while it works on the pipeline, alone or with others.
func (x *Indexer) Run(ctx context.Context, src origin.Source, o *origin.ScanOptions) (origin.Scanned, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := errors.New("the scan is over")
	var workers sync.WaitGroup
	workers.Go(func() {
		if err := x.Pipeline.Work(ctx, x.Work); ctx.Err() == nil {
			cancel(err) // to wait on for what nobody does would be to wait for ever
		}
	})
	res, err := x.Scan(ctx, src, o)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	cancel(done)
	workers.Wait()
	return res, err
}

// distrust has this process and the node, if there is one, forget what they hold of loc.
func (s *Stores) distrust(ctx context.Context, loc index.Location) error {
	s.uncache(ctx, loc)
	s.Streamer.Distrust(loc)
	if s.node == nil {
		return nil
	}
	return s.node.Do(ctx, CommandDistrust, loc.Encode(), io.Discard)
}

// uncache forgets what the cache on disk has of loc, which may be mended meanwhile.
func (s *Stores) uncache(ctx context.Context, loc index.Location) {
	if s.cache != nil && loc.Path == "" {
		s.cache.Forget(ctx, pack.Key(loc.Pack))
	}
}

// removePack removes a pack and everything in it.
func (s *Stores) removePack(ctx context.Context, name string) error {
	d, err := digest.Parse(name)
	if err != nil {
		return fmt.Errorf("node: pack %q: %w", name, err)
	}
	loc := index.Location{Pack: d}
	if err := index.RemoveLocation(ctx, s.KV, loc); err != nil {
		return err
	}
	if err := s.Packs.Delete(ctx, pack.Key(d)); err != nil {
		return err
	}
	return s.distrust(ctx, loc)
}
