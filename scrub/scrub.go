// Package scrub re-hashes stored packs in the background. A block that is not
// what its digest says is put in quarantine, which keeps every reader of the
// index from that copy; a pack that is found whole again is released.
//
// A pass goes through all packs in the order of their keys. It notes how far it
// came, so that a restart goes on from there.
//
// # Errors
//
// Faults are not errors: they are counted and told to [Trace]. Errors are those of
// the stores.
//
// A [Scrubber] runs one pass at a time.
package scrub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/kv"
	"github.com/hashstream/hashstream/pack"
)

// Store is what a Scrubber needs of the pack store.
type Store interface {
	blob.Getter
	blob.Lister
}

// Trace is told what happens. Any hook may be nil.
type Trace struct {
	Start func(bytes int64)                      // a pass begins; the bytes of all packs that it will read
	Pack  func(info pack.Info, faults int64)     // a pack was read to its end
	Fault func(f pack.Fault, loc index.Location) // something is wrong; a bad block is in quarantine
}

// Options tunes a [Scrubber]. Zero values mean the defaults.
type Options struct {
	Rate  int64 // bytes read a second at most; default no limit
	Trace Trace
}

// Report counts what a pass found.
type Report struct {
	Packs    int64 `json:"packs"`
	Bytes    int64 `json:"bytes"`
	Faults   int64 `json:"faults"`
	Released int64 `json:"released"` // copies that were bad before and are whole now
}

// Scrubber checks packs.
type Scrubber struct {
	mu    sync.Mutex // held during a pass
	packs Store
	index *index.Index
	store kv.Store
	o     Options
}

// New returns a Scrubber of packs that keeps its findings in store.
func New(packs Store, store kv.Store, o *Options) *Scrubber {
	s := &Scrubber{packs: packs, index: index.New(store, nil), store: store}
	if o != nil {
		s.o = *o
	}
	return s
}

// Run makes one pass after the other, each beginning interval after the start of
// the one before, until ctx ends. What came of each is told to done.
func (s *Scrubber) Run(ctx context.Context, interval time.Duration, done func(started time.Time, r Report, err error)) {
	for ctx.Err() == nil {
		next := time.NewTimer(interval)
		started := time.Now()
		if r, err := s.Pass(ctx); ctx.Err() == nil {
			done(started, r, err)
		}
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
		}
	}
}

// Pass checks every pack, beginning where an earlier pass was interrupted.
func (s *Scrubber) Pass(ctx context.Context) (Report, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var r Report
	from, err := s.cursor(ctx)
	if err != nil {
		return r, err
	}
	if err := s.measure(ctx, from); err != nil {
		return r, err
	}
	whole := map[index.Location]bool{}
	for info, err := range pack.List(ctx, s.packs) {
		if err != nil {
			return r, err
		}
		key := pack.Key(info.Digest)
		if key <= from {
			continue
		}
		faults, err := s.check(ctx, info)
		if errors.Is(err, fs.ErrNotExist) {
			continue // deleted meanwhile
		}
		if err != nil {
			return r, err
		}
		r.Packs++
		r.Bytes += info.Size
		r.Faults += faults
		if faults == 0 {
			whole[index.Location{Pack: info.Digest}] = true
		}
		if err := s.note(ctx, key); err != nil {
			return r, err
		}
	}
	r.Released, err = s.release(ctx, whole)
	if err != nil {
		return r, err
	}
	return r, s.note(ctx, "")
}

// measure tells how much a pass that goes on after the key from will read.
func (s *Scrubber) measure(ctx context.Context, from string) error {
	if s.o.Trace.Start == nil {
		return nil
	}
	var total int64
	for info, err := range pack.List(ctx, s.packs) {
		if err != nil {
			return err
		}
		if pack.Key(info.Digest) > from {
			total += info.Size
		}
	}
	s.o.Trace.Start(total)
	return nil
}

// check reads one pack and puts its bad blocks in quarantine.
func (s *Scrubber) check(ctx context.Context, info pack.Info) (faults int64, err error) {
	loc := index.Location{Pack: info.Digest}
	for f, err := range pack.Verify(ctx, limited{s.packs, s.o.Rate}, info.Digest) {
		if err != nil {
			return faults, err
		}
		faults++
		if err := s.quarantine(ctx, f, loc); err != nil {
			return faults, err
		}
		if s.o.Trace.Fault != nil {
			s.o.Trace.Fault(f, loc)
		}
	}
	if s.o.Trace.Pack != nil {
		s.o.Trace.Pack(info, faults)
	}
	return faults, nil
}

func (s *Scrubber) quarantine(ctx context.Context, f pack.Fault, loc index.Location) error {
	if !f.CID.Defined() {
		return nil // the frame or the name: no block that could be served is known to be bad
	}
	d, err := digest.FromCID(f.CID)
	if err != nil {
		return nil // the CID itself is what is damaged
	}
	return index.Quarantine(ctx, s.store, d, loc, f.Err.Error())
}

// release lifts the quarantine of blocks in packs that are whole.
func (s *Scrubber) release(ctx context.Context, whole map[index.Location]bool) (int64, error) {
	var n int64
	for bad, err := range s.index.Quarantines(ctx) {
		if err != nil {
			return n, fmt.Errorf("scrub: %w", err)
		}
		if !whole[bad.Location] {
			continue
		}
		if err := index.Release(ctx, s.store, bad.Digest, bad.Location); err != nil {
			return n, fmt.Errorf("scrub: %w", err)
		}
		n++
	}
	return n, nil
}

// cursorKey holds the key of the pack that was checked last. The index has the
// lower-case letters for its keys.
const cursorKey = "S cursor"

func (s *Scrubber) cursor(ctx context.Context) (string, error) {
	b, err := s.store.Get(ctx, []byte(cursorKey))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("scrub: %w", err)
	}
	return string(b), nil
}

func (s *Scrubber) note(ctx context.Context, key string) error {
	op := kv.Put([]byte(cursorKey), []byte(key))
	if key == "" {
		op = kv.Delete([]byte(cursorKey))
	}
	if err := s.store.Batch(ctx, []kv.Op{op}); err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	return nil
}
