// Package scrub re-hashes stored packs, and blobs that are objects of their own, in the background. A block that is not
// what its digest says is put in quarantine, which keeps every reader of the
// index from that copy; a pack that is found whole again is released.
//
// A pass goes through all packs in the order of their keys. It can note how far it
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
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"

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
	Rate   int64 // bytes read a second at most, in all packs together; default no limit
	Resume bool  // begin where an earlier pass with Resume was interrupted
	Trace  Trace
}

// Report counts what a pass found.
type Report struct {
	Packs    int64 `json:"packs"`
	Blobs    int64 `json:"blobs,omitempty"` // objects that are one BLAKE3 block
	Bytes    int64 `json:"bytes"`
	Faults   int64 `json:"faults"`
	Released int64 `json:"released"` // copies that were bad before and are whole now
}

// Scrubber checks packs.
type Scrubber struct {
	mu    sync.Mutex // held during a pass
	packs Store
	limit *rate.Limiter // nil for none
	index *index.Index
	store kv.Store
	o     Options
}

// maxRetry is how long a pass that failed is waited for at most.
const maxRetry = 10 * time.Minute

// New returns a Scrubber of packs that keeps its findings in store.
func New(packs Store, store kv.Store, o *Options) *Scrubber {
	s := &Scrubber{packs: packs, index: index.New(store, nil), store: store}
	if o != nil {
		s.o = *o
	}
	if s.o.Rate > 0 {
		s.limit = rate.NewLimiter(rate.Limit(s.o.Rate), int(min(s.o.Rate, 1<<20)))
	}
	return s
}

// Run makes one pass after the other, each beginning interval after the start of
// the one before, until ctx ends. A pass that failed is tried again after ten
// minutes at most. What came of each is told to done.
func (s *Scrubber) Run(ctx context.Context, interval time.Duration, done func(started time.Time, r Report, err error)) {
	for ctx.Err() == nil {
		started := time.Now()
		r, err := s.Pass(ctx)
		if ctx.Err() != nil {
			return
		}
		done(started, r, err)
		wait := interval - time.Since(started)
		if err != nil {
			wait = retry(interval)
		}
		next := time.NewTimer(wait)
		select {
		case <-next.C:
		case <-ctx.Done():
			next.Stop()
		}
	}
}

// retry is when to try again after a failure: not all nodes of a store that was
// away at the same moment.
func retry(interval time.Duration) time.Duration {
	most := min(interval, maxRetry)
	return most/2 + rand.N(most/2+1)
}

// Pass checks every pack, with [Options.Resume] those that an earlier pass has not
// come to.
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
	for info, err := range s.packs.List(ctx, "") {
		if err != nil {
			return r, fmt.Errorf("scrub: list: %w", err)
		}
		if info.Key <= from {
			continue
		}
		if d, err := pack.ParseKey(info.Key); err == nil {
			err = s.one(ctx, pack.Info{Digest: d, Size: info.Size, ModTime: info.ModTime}, &r)
			if err != nil {
				return r, err
			}
		} else if d, err := index.ParseBlobKey(info.Key); err != nil {
			continue
		} else if err := s.blob(ctx, info, d, &r); err != nil {
			return r, err
		}
		if err := s.note(ctx, info.Key); err != nil {
			return r, err
		}
	}
	return r, s.note(ctx, "")
}

// one checks a pack, and releases what was in quarantine if it is whole.
func (s *Scrubber) one(ctx context.Context, info pack.Info, r *Report) error {
	faults, err := s.check(ctx, info)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	r.Packs++
	r.Bytes += info.Size
	r.Faults += faults
	if faults > 0 {
		return nil
	}
	released, err := s.release(ctx, index.Location{Pack: info.Digest})
	r.Released += released
	return err
}

// measure tells how much a pass that goes on after the key from will read.
func (s *Scrubber) measure(ctx context.Context, from string) error {
	if s.o.Trace.Start == nil {
		return nil
	}
	var total int64
	for info, err := range s.packs.List(ctx, "") {
		if err != nil {
			return fmt.Errorf("scrub: list: %w", err)
		}
		_, notPack := pack.ParseKey(info.Key)
		_, notBlob := index.ParseBlobKey(info.Key)
		if info.Key > from && (notPack == nil || notBlob == nil) {
			total += info.Size
		}
	}
	s.o.Trace.Start(total)
	return nil
}

// check reads one pack and puts its bad blocks in quarantine.
func (s *Scrubber) check(ctx context.Context, info pack.Info) (faults int64, err error) {
	loc := index.Location{Pack: info.Digest}
	for f, err := range pack.Verify(ctx, limited{s.packs, s.limit}, info.Digest) {
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

// release lifts the quarantine of every block at loc.
func (s *Scrubber) release(ctx context.Context, loc index.Location) (int64, error) {
	var n int64
	for bad, err := range s.index.Quarantines(ctx) {
		if err != nil {
			return n, fmt.Errorf("scrub: %w", err)
		}
		if bad.Location != loc {
			continue
		}
		if err := index.Release(ctx, s.store, bad.Digest, loc); err != nil {
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
	if !s.o.Resume {
		return "", nil
	}
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
	if !s.o.Resume {
		return nil
	}
	op := kv.Put([]byte(cursorKey), []byte(key))
	if key == "" {
		op = kv.Delete([]byte(cursorKey))
	}
	if err := s.store.Batch(ctx, []kv.Op{op}); err != nil {
		return fmt.Errorf("scrub: %w", err)
	}
	return nil
}
