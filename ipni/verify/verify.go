// Package verify checks what an index has stored against the advertisements that it
// comes from. Hashes cannot be undone: only who reads the chains again can tell whether
// a store of ciphertext holds what it should.
//
// A chain is walked from the newest advertisement that was ingested to the oldest. What the
// store must hold of each is told by the rows of ingestion (package state): the group that
// its multihashes went to, unless the context or the provider was removed later, and the
// metadata of the last one that set it. The multihashes themselves are read again from the
// publisher, or from a mirror of its chain, and looked for in the store, all or a
// sample of them.
//
// Nothing but the advertisement at hand is kept, so a chain may be of any length.
//
// # Errors
//
// Errors of the store and of the rows end a walk. What cannot be had of a publisher
// does not: the [Report] tells what could not be checked.
//
// Functions are safe for concurrent use.
package verify

import (
	"context"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"runtime"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// Store is what is checked. That of package store is one; [Over] makes one of others.
type Store interface {
	// Check yields those of mhs that are missing from a group.
	Check(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) iter.Seq2[multihash.Multihash, error]
	// Metadata returns the metadata of a context, or an error that matches fs.ErrNotExist.
	Metadata(ctx context.Context, c ipni.Context) ([]byte, error)
}

// Options set up a walk. Nil means defaults.
type Options struct {
	// Sample is the share of the multihashes that is checked, above 0; default 1, all of
	// them. Entries of which none is in the sample are not fetched.
	Sample float64
	// Repair takes what is missing; default none. Of a sample it takes the whole blocks in
	// which something is missing.
	Repair ipni.Sink
	// Hold keeps others from changing a context while it is repaired, as that of an
	// ingester does; default: there are no others.
	Hold func(ctx context.Context, c ipni.Context) (release func(), err error)

	Depth   uint64         // advertisements that are read at most; default 33,554,432
	Limits  entries.Limits // of one advertisement; default as those of an ingester
	Timeout time.Duration  // of one block; default 1 min
	Workers int            // goroutines that check; default one for each processor

	// Found is called with each advertisement of which something is missing or could not be
	// read; default none.
	Found func(Finding)
	// Read is called after each advertisement; default none.
	Read func(Report)
}

// Finding is an advertisement that is not in order.
type Finding struct {
	Ad        cid.Cid  `json:"ad"`
	Provider  peer.ID  `json:"provider,omitempty"`
	ContextID []byte   `json:"context_id,omitempty"`
	Checked   int64    `json:"checked"`            // multihashes
	Missing   int64    `json:"missing"`            // of them
	Examples  []string `json:"examples,omitempty"` // some that are missing, in base 58
	Metadata  string   `json:"metadata,omitempty"` // "missing" or "other", if it is not what it should be
	Repaired  bool     `json:"repaired,omitempty"` // what is missing was put back
	Cause     string   `json:"cause,omitempty"`    // why entries could not be read
}

// examples is how many of them a Finding has.
const examples = 4

// Report is what a walk found. Counts are of advertisements unless they say otherwise.
type Report struct {
	Publisher peer.ID `json:"publisher"`
	Ads       int64   `json:"ads"`     // that were read
	Held      int64   `json:"held"`    // of them, those with multihashes that the store must hold
	Removed   int64   `json:"removed"` // those whose context or provider was removed later
	Skipped   int64   `json:"skipped"` // those that ingestion skipped
	Pending   int64   `json:"pending"` // those that are not ingested to their end
	Unread    int64   `json:"unread"`  // those whose entries could not be had to their end

	Multihashes     int64 `json:"multihashes"`      // of Held, as ingestion counted them
	Checked         int64 `json:"checked"`          // multihashes that were looked for
	Missing         int64 `json:"missing"`          // of Checked
	Metadata        int64 `json:"metadata"`         // contexts whose metadata was compared
	MetadataMissing int64 `json:"metadata_missing"` // of Metadata, those that are absent or other
	Repaired        int64 `json:"repaired"`         // that were put back

	// Ended tells why older advertisements could not be read, though they were ingested;
	// empty if they were, or there are none.
	Ended string `json:"ended,omitempty"`
}

// Damaged reports whether something is missing that was not put back.
func (r Report) Damaged() bool { return r.Missing+r.MetadataMissing > 0 && r.Repaired == 0 }

// Whole reports whether everything that should be checked was.
func (r Report) Whole() bool { return r.Unread == 0 && r.Ended == "" }

// Add adds the counts of another report.
func (r *Report) Add(o Report) {
	r.Ads += o.Ads
	r.Held += o.Held
	r.Removed += o.Removed
	r.Skipped += o.Skipped
	r.Pending += o.Pending
	r.Unread += o.Unread
	r.Multihashes += o.Multihashes
	r.Checked += o.Checked
	r.Missing += o.Missing
	r.Metadata += o.Metadata
	r.MetadataMissing += o.MetadataMissing
	r.Repaired += o.Repaired
	if r.Ended == "" {
		r.Ended = o.Ended
	}
}

// walker is one walk.
type walker struct {
	chain  ipni.Chain
	state  *state.Store
	store  Store
	o      Options
	report Report
	skip   float64 // multihashes before the next one of the sample
}

// Run walks the chain of a publisher that rows tell of and checks store. The error matches
// fs.ErrNotExist if the publisher is unknown.
func Run(ctx context.Context, publisher peer.ID, chain ipni.Chain, rows *state.Store, store Store, o *Options) (Report, error) {
	w := &walker{chain: chain, state: rows, store: store, report: Report{Publisher: publisher}}
	if o != nil {
		w.o = *o
	}
	w.defaults()
	w.skip = w.gap()
	if err := w.run(ctx, publisher); err != nil {
		return w.report, fmt.Errorf("verify: chain of %s: %w", publisher, err)
	}
	return w.report, nil
}

func (w *walker) defaults() {
	o := &w.o
	if o.Sample <= 0 || o.Sample > 1 {
		o.Sample = 1
	}
	if o.Depth == 0 {
		o.Depth = 1 << 25
	}
	if o.Limits == (entries.Limits{}) {
		o.Limits = entries.Limits{Blocks: 1 << 16, Multihashes: 1 << 30, Bytes: 64 << 30}
	}
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	if o.Hold == nil {
		o.Hold = func(context.Context, ipni.Context) (func(), error) { return func() {}, nil }
	}
	if o.Found == nil {
		o.Found = func(Finding) {}
	}
	if o.Read == nil {
		o.Read = func(Report) {}
	}
}

// gap returns how many multihashes are passed over before the next one of the sample, so
// that each is in it with the same probability.
func (w *walker) gap() float64 {
	if w.o.Sample == 1 {
		return 0
	}
	return math.Floor(math.Log1p(-rand.Float64()) / math.Log1p(-w.o.Sample))
}
