// Package watch compares the index of a node with another one while the node works: what they know
// of providers now and then, and what they find for a share of what clients look up.
//
// # What it costs
//
// A lookup is never held up: it is noted for a comparison, or not if too many wait. The memory and
// the rate of comparisons are bounded, whatever the number of lookups.
//
// # What the other index learns
//
// What is compared is looked up there: second hashes of hashed lookups, and multihashes of plain
// ones as they are.
//
// # Errors
//
// What cannot be compared is counted, or logged, and goes to no client.
//
// A Watcher is safe for concurrent use. It works in [Watcher.Run].
package watch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"
	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/dhash"
)

// Bounds of what is done at a time.
const (
	waiting    = 64               // lookups that wait to be compared
	longest    = 256              // bytes of a multihash that is compared
	workers    = 2                // comparisons of lookups at the same time
	perSecond  = 10               // of them
	timeout    = 10 * time.Second // of a lookup
	window     = 500              // comparisons of which shares are told, at least; twice as many at most
	walkers    = 2                // chains that are read at the same time
	walkDepth  = 256              // advertisements from each end of a chain
	walkTime   = 2 * time.Minute  // for one chain
	walkAds    = 5000             // advertisements of one comparison of providers
	walkSecond = 20               // advertisements a second
)

// Index is what is compared.
type Index struct {
	Finder    ipni.Finder
	Sealed    ipni.SealedReader
	Providers coverage.Directory
}

// Gauges are told the outcomes, as ipniobs.Metrics are.
type Gauges interface {
	Providers(against string, p coverage.Providers, err error)
	Reads(against string, r coverage.Reads)
	SealedReads(against string, r coverage.Reads)
}

// Options say what is compared.
type Options struct {
	Name         string // of the other index, without credentials
	Ours, Theirs Index
	Share        float64       // of lookups, from 0 to 1
	Interval     time.Duration // between comparisons of providers
	// Open returns the chain of a publisher, to tell how far one is behind; nil for not to tell.
	Open   func(ctx context.Context, publisher peer.AddrInfo) (ipni.Chain, error)
	Gauges Gauges
	Log    *slog.Logger // default: none
}

// Watcher compares two indexes.
type Watcher struct {
	o             Options
	noted         chan lookup
	plain, sealed windowed
}

// lookup is what a client asked for.
type lookup struct {
	mh  multihash.Multihash // nil for a hashed lookup
	key dhash.Key
}

// New returns a Watcher.
func New(o Options) *Watcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Watcher{o: o, noted: make(chan lookup, waiting)}
}

// note has a lookup compared later, if it is one of those and there is room.
func (w *Watcher) note(l func() lookup) {
	if rand.Float64() >= w.o.Share || len(w.noted) == cap(w.noted) {
		return
	}
	select {
	case w.noted <- l():
	default:
	}
}

// Finder returns next, whose lookups are compared.
func (w *Watcher) Finder(next ipni.Finder) ipni.Finder { return finder{next, w} }

// Sealed returns next, whose lookups are compared.
func (w *Watcher) Sealed(next ipni.SealedReader) ipni.SealedReader { return sealed{next, w} }

type finder struct {
	ipni.Finder
	w *Watcher
}

// Find yields what the finder does.
func (f finder) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	if len(mh) <= longest {
		f.w.note(func() lookup { return lookup{mh: bytes.Clone(mh)} })
	}
	return f.Finder.Find(ctx, mh)
}

type sealed struct {
	ipni.SealedReader
	w *Watcher
}

// ValueKeys yields what the reader does.
func (s sealed) ValueKeys(ctx context.Context, key dhash.Key) iter.Seq2[[]byte, error] {
	s.w.note(func() lookup { return lookup{key: key} })
	return s.SealedReader.ValueKeys(ctx, key)
}

// Run compares until ctx ends.
func (w *Watcher) Run(ctx context.Context) error {
	var running sync.WaitGroup
	pace := rate.NewLimiter(perSecond, 1)
	for range workers {
		running.Go(func() {
			for pace.Wait(ctx) == nil {
				select {
				case l := <-w.noted:
					w.compare(ctx, l)
				case <-ctx.Done():
				}
			}
		})
	}
	for tick := time.NewTicker(w.o.Interval); ctx.Err() == nil; {
		w.providers(ctx)
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
		}
	}
	running.Wait()
	return context.Cause(ctx)
}

// compare looks up in both indexes what was noted.
func (w *Watcher) compare(ctx context.Context, l lookup) {
	o := &coverage.Options{Concurrency: 1, Rate: -1, Timeout: timeout, Examples: -1}
	var one coverage.Reads
	var err error
	if l.mh != nil {
		one, err = coverage.CompareReads(ctx, w.o.Ours.Finder, w.o.Theirs.Finder, single(l.mh), o)
	} else {
		one, err = coverage.CompareSealed(ctx, w.o.Ours.Sealed, w.o.Theirs.Sealed, single(l.key), o)
	}
	if err != nil {
		return // ctx has ended
	}
	for _, cause := range one.Failures {
		w.o.Log.Debug("comparison of a lookup", "with", w.o.Name, "error", cause)
	}
	if l.mh != nil {
		w.plain.add(one, func(r coverage.Reads) { w.o.Gauges.Reads(w.o.Name, r) })
	} else {
		w.sealed.add(one, func(r coverage.Reads) { w.o.Gauges.SealedReads(w.o.Name, r) })
	}
}

// single yields v.
func single[T any](v T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) { yield(v, nil) }
}

// windowed sums up the last comparisons.
type windowed struct {
	mu           sync.Mutex
	before, last coverage.Reads
}

// add adds a comparison, and tells the sum of the last ones.
func (w *windowed) add(one coverage.Reads, tell func(coverage.Reads)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one.Missing, one.Failures = nil, nil
	w.last.Add(one, 0)
	sum := w.before
	sum.Add(w.last, 0)
	if w.last.Asked+w.last.Failed >= window {
		w.before, w.last = w.last, coverage.Reads{}
	}
	tell(sum)
}

// providers compares what the indexes know of providers.
func (w *Watcher) providers(ctx context.Context) {
	o := &coverage.Options{Concurrency: walkers, Timeout: walkTime, Examples: -1}
	if w.o.Open != nil {
		o.Distance = coverage.Walk(w.slowly(), walkDepth)
	}
	p, err := coverage.CompareProviders(ctx, w.o.Ours.Providers, w.o.Theirs.Providers, o)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		w.o.Log.Warn("comparison of providers", "with", w.o.Name, "error", err)
	}
	w.o.Gauges.Providers(w.o.Name, p, err)
}

// slowly returns a way to open chains, from which no more than walkAds advertisements are read in
// all, and walkSecond a second.
func (w *Watcher) slowly() func(context.Context, peer.AddrInfo) (ipni.Chain, error) {
	pace, left := rate.NewLimiter(walkSecond, 1), new(atomic.Int64)
	left.Store(walkAds)
	return func(ctx context.Context, publisher peer.AddrInfo) (ipni.Chain, error) {
		chain, err := w.o.Open(ctx, publisher)
		if err != nil {
			return nil, err
		}
		return slow{chain, pace, left}, nil
	}
}

// errEnough says that no more is read in one comparison.
var errEnough = errors.New("watch: enough advertisements were read for this comparison")

// slow is a chain that is read slowly.
type slow struct {
	ipni.Chain
	pace *rate.Limiter
	left *atomic.Int64
}

// Block returns a block of the chain.
func (s slow) Block(ctx context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	if s.left.Add(-1) < 0 {
		return nil, errEnough
	}
	if err := s.pace.Wait(ctx); err != nil {
		return nil, err
	}
	return s.Chain.Block(ctx, c, kind)
}

// Close closes the chain.
func (s slow) Close() error {
	if c, ok := s.Chain.(io.Closer); ok {
		return c.Close()
	}
	return nil
}
