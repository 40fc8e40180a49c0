// Package node puts the parts together: the stores that a configuration names,
// the streamer over them, and the servers of a node that runs.
//
// [Open] serves commands, with or without a running node. [Serve] is the node.
package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"sync/atomic"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/obs"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/streamer"
)

// Stores is opened stores and what reads them.
type Stores struct {
	Packs    blob.Store
	KV       kv.Store // the index's keys
	Index    *index.Index
	Streamer *streamer.Streamer
	Sources  *backends.Sources

	cache interface { // of packs on disk, or nil
		Forget(ctx context.Context, key string)
	}
	log         *slog.Logger
	quarantined atomic.Bool // something was, or was released

	node    *control.Client // of the node whose index this is, or nil
	closers []io.Closer
}

// Open opens the stores of c. If a node runs in the home, the index is that
// node's; if another command holds it, Open waits and tells so to notify.
func Open(ctx context.Context, c config.Config, notify func(message string)) (*Stores, error) {
	return open(ctx, c, opening{notify: notify})
}

// opening is how stores are opened.
type opening struct {
	owner   bool // the process is the node of the home
	notify  func(string)
	metrics *obs.Metrics // may be nil
	log     *slog.Logger // may be nil
}

// Close closes the stores.
func (s *Stores) Close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i].Close())
	}
	return errors.Join(errs...)
}

// ready reports whether the index answers.
func (s *Stores) ready(ctx context.Context) error {
	_, err := s.KV.Get(ctx, []byte("ready"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Destination is where ingestion puts things, with index records of level.
func (s *Stores) Destination(level index.Level) (ingest.Destination, error) {
	drafts, ok := s.Packs.(blob.Drafter)
	if !ok {
		return ingest.Destination{}, fmt.Errorf("node: the pack store cannot be written: %w", fs.ErrPermission)
	}
	dst := ingest.Destination{
		Packs:    healing{drafts, s},
		Record:   func() ingest.Recorder { return index.NewBuilder(s.KV, level) },
		Has:      s.Index.Has,
		Complete: s.Streamer.Complete,
		Locate:   ingest.Locator(s.Index, s.Packs),
	}
	if level == index.LevelAll || level == index.LevelSingle {
		dst.Blocks = index.NewBlocks(s.KV)
	}
	return dst, nil
}

// Shelf is where packs are indexed, with records of level. The packs are read
// from the getter.
func (s *Stores) Shelf(packs blob.Getter, level index.Level) ingest.Shelf {
	return ingest.Shelf{Keys: s.KV, Level: level, Packs: packs, Files: s.Sources, Complete: s.Streamer.Complete}
}

// Quarantine keeps the block of a fault from being served, by a running node too.
func (s *Stores) Quarantine(ctx context.Context, f pack.Fault) error {
	d, err := digest.FromCID(f.CID)
	if !f.CID.Defined() || err != nil {
		return nil // the frame or the name: no block is known to be bad
	}
	loc := index.Location{Pack: f.Pack}
	if err := index.Quarantine(ctx, s.KV, d, loc, f.Err.Error()); err != nil {
		return err
	}
	return s.distrust(ctx, loc)
}

// quarantine is told by the streamer of copies that failed verification.
func (s *Stores) quarantine(ctx context.Context, d digest.Digest, loc index.Location, cause error) {
	if s.log != nil {
		s.log.ErrorContext(ctx, "corrupt", "block", d.String(), "location", loc.String(), "error", cause)
	}
	s.uncache(ctx, loc)
	err := index.Quarantine(ctx, s.KV, d, loc, cause.Error())
	s.quarantined.Store(true)
	if err != nil && s.log != nil {
		s.log.ErrorContext(ctx, "quarantine", "block", d.String(), "error", err)
	}
}
