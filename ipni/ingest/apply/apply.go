// Package apply turns single advertisements into records: what they say goes to the sink
// first, then what became of them is written in one batch, with everything that hangs
// on it. To apply one again has the same effect as once.
//
// # Errors
//
// Errors of the sink and of the store are [Serious]: no publisher is to blame for them. That a
// row is corrupt is a [Damage], which concerns those whose row it is.
// Errors of fetching entries are passed on.
//
// An Applier is safe for concurrent use: advertisements for one context wait for each other.
package apply

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// removedLater is the reason why an advertisement of a removed provider is skipped.
const removedLater = "the provider was removed later"

// Options of an applier. A zero field means its default.
type Options struct {
	Writes  int           // blocks of multihashes of one advertisement that are written at once; 2
	Timeout time.Duration // of the entries of one advertisement in one turn; 2 h
	Frozen  func() bool   // tells that no multihashes are taken; never
}

// Applier applies advertisements.
type Applier struct {
	state    *state.Store
	sink     ipni.Sink
	registry *registry.Registry
	lists    *policy.Lists
	o        Options
	contexts locks[ipni.Context]
	changes  locks[peer.ID] // of the registry, by provider
}

// New returns an applier. registry, which lies in the store of st, may be nil.
func New(st *state.Store, sink ipni.Sink, registry *registry.Registry, lists *policy.Lists, o *Options) *Applier {
	a := &Applier{state: st, sink: sink, registry: registry, lists: lists}
	if o != nil {
		a.o = *o
	}
	if a.o.Writes == 0 {
		a.o.Writes = 2
	}
	if a.o.Timeout == 0 {
		a.o.Timeout = 2 * time.Hour
	}
	if a.o.Frozen == nil {
		a.o.Frozen = func() bool { return false }
	}
	return a
}

// Item is an advertisement in the chain of a publisher.
type Item struct {
	CID     cid.Cid
	Order   uint64
	Ad      *ad.Ad   // nil if it is bad
	Bad     error    // why
	Row     state.Ad // before this
	Removed bool     // its context is removed by a newer one
}

// Context returns the context that a good advertisement is about.
func (it *Item) Context() ipni.Context {
	return ipni.Context{Provider: it.Ad.Provider, ID: string(it.Ad.ContextID)}
}

// Result is what becomes of an advertisement.
type Result struct {
	Status state.Status
	Reason string
	Epoch  uint64
	Count  uint64 // multihashes
	Heeded bool   // what it says of its provider counts

	Missing  bool // entries are still to be had
	Deferred bool // because the node is frozen

	gone   bool // the context was removed later
	ops    []kv.Op
	unlock func() // the context, or nil
}

// Source is in whose chain an advertisement is, and where its entries come from.
type Source struct {
	Publisher peer.AddrInfo
	Tag       state.Tag
	Floor     uint64          // see state.Floor
	Anew      bool            // rows that are corrupt are begun anew
	Progress  *state.Progress // how far its entries are put, which is kept up to date
	Stream    *entries.Stream // of its entries, already begun, or nil
	Start     func(ctx context.Context, left []cid.Cid, done entries.Count) (*entries.Stream, error)
	// Read is called with the multihashes of each block, and tells whether it is another's turn.
	Read func(multihashes uint64) bool
	// Wait is called when a block has to be waited for, and what it returns when it came. It may be nil.
	Wait func() (done func())
}

// Apply does what an advertisement says, except for what is written with its status by
// [Applier.Commit], which must follow if there is no error: others wait for the context
// until then. Whatever it did before is done again to the same effect. With an error, the result has
// only the group of the entries, as far as they were put.
func (ap *Applier) Apply(ctx context.Context, it *Item, src Source) (Result, error) {
	if it.Ad == nil {
		return Result{Status: state.Skipped, Reason: it.Bad.Error()}, nil
	}
	if err := ap.lists.CheckAd(src.Publisher.ID, it.Ad); err != nil {
		return Result{Status: state.Skipped, Reason: err.Error()}, nil
	}
	c := it.Context()
	unlock, err := ap.contexts.lock(ctx, c)
	if err != nil {
		return Result{}, err
	}
	res, err := ap.decide(ctx, it, c, src)
	if err != nil {
		unlock()
		return Result{Epoch: res.Epoch, Count: res.Count}, err
	}
	res.unlock = unlock
	return res, nil
}

// decide is Apply for an advertisement that is to be heeded; its context is locked.
func (ap *Applier) decide(ctx context.Context, it *Item, c ipni.Context, src Source) (Result, error) {
	removed, err := row(src, c.Provider, func(id peer.ID) (uint64, error) { return ap.state.Removed(ctx, id) })
	if err != nil {
		return Result{}, Grave(err)
	}
	st, err := row(src, c, func(c ipni.Context) (state.Context, error) { return ap.state.Context(ctx, c) })
	if err != nil {
		return Result{}, Grave(err)
	}
	st.RemovedAt = max(st.RemovedAt, removed)
	switch a := it.Ad; {
	case it.Order <= removed:
		if newest := max(st.MetadataAt, st.Epoch); 0 < newest && newest <= removed { // put, and the removal did not know of it
			if err := ap.forget(ctx, c, removed); err != nil {
				return Result{}, Grave(err)
			}
		}
		return Result{Status: state.Skipped, Reason: removedLater}, nil
	case a.Remove:
		return ap.remove(ctx, it, c, st)
	case it.Removed || it.Order < st.RemovedAt:
		return Result{Status: state.Skipped, Reason: "the context was removed later", Heeded: true, gone: true}, nil
	case len(a.Metadata) == 0 && a.Entries.Defined():
		return Result{Status: state.Skipped, Reason: "entries without metadata", Heeded: true}, nil
	case len(a.Metadata) == 0 || len(a.ContextID) == 0 && !a.Entries.Defined(): // addresses, or extended providers of the chain
		return Result{Status: state.Indexed, Heeded: true}, nil
	}
	return ap.add(ctx, it, c, st, src)
}

// row reads a row. One that is corrupt is as none if all is read anew: then nothing is older than
// what is processed.
func row[K, V any](src Source, key K, read func(K) (V, error)) (V, error) {
	v, err := read(key)
	if src.Anew && errors.Is(err, digest.ErrMismatch) {
		var none V
		return none, nil
	}
	return v, err
}

// remove removes a context as far as it is older.
func (ap *Applier) remove(ctx context.Context, it *Item, c ipni.Context, st state.Context) (Result, error) {
	before, next := st.Cut(it.Order)
	if err := ap.sink.Remove(ctx, c, before); err != nil {
		return Result{}, Grave(err)
	}
	if st.MetadataAt < it.Order {
		if err := ap.sink.PutMetadata(ctx, c, nil); err != nil {
			return Result{}, Grave(err)
		}
	}
	return Result{Status: state.Indexed, Heeded: true, ops: []kv.Op{state.PutContext(c, next)}}, nil
}

// add puts metadata, unless there is a newer one, and entries.
func (ap *Applier) add(ctx context.Context, it *Item, c ipni.Context, st state.Context, src Source) (Result, error) {
	res := Result{Status: state.Indexed, Heeded: true}
	if it.Order >= st.MetadataAt {
		if err := ap.sink.PutMetadata(ctx, c, it.Ad.Metadata); err != nil {
			return Result{}, Grave(err)
		}
		st.MetadataAt = it.Order
	}
	if it.Ad.Entries.Defined() {
		if ap.o.Frozen() {
			res.Missing, res.Deferred, res.Reason = true, true, "the node is frozen"
		} else if err := ap.addEntries(ctx, it, c, &st, src, &res); err != nil {
			return res, ap.placed(ctx, c, st, err)
		}
	}
	if res.Missing {
		res.Status = state.Pending
	}
	res.ops = append(res.ops, state.PutContext(c, st))
	return res, nil
}

// placed records what was put of a context before something failed: it can take long until it is tried
// again, and what is older must not replace or remove it meanwhile.
func (ap *Applier) placed(ctx context.Context, c ipni.Context, st state.Context, cause error) error {
	if IsSerious(cause) || ctx.Err() != nil {
		return cause
	}
	if err := ap.state.Batch(ctx, []kv.Op{state.PutContext(c, st)}); err != nil {
		return Grave(err)
	}
	return cause
}

// addEntries puts entries into their group. What was put of bad or missing ones stays:
// the provider did say that it has them.
func (ap *Applier) addEntries(ctx context.Context, it *Item, c ipni.Context, st *state.Context, src Source, res *Result) error {
	epoch, next := st.Place(it.Order, src.Floor, src.Tag)
	if it.Row.Epoch > st.RemovedAt { // it was put before, and is put there again
		epoch, next = it.Row.Epoch, *st
	}
	if src.Progress.Epoch != epoch { // what was put before may be removed
		*src.Progress = state.Progress{Epoch: epoch}
	}
	count, err := ap.put(ctx, it, ipni.Group{Context: c, Epoch: epoch}, src)
	res.Epoch, res.Count = epoch, count
	*st = next
	switch {
	case err == nil:
	case errors.Is(err, entries.ErrBad):
		res.Status, res.Reason = state.Skipped, err.Error()
	case errors.Is(err, fs.ErrNotExist) && !IsSerious(err):
		res.Missing, res.Reason = true, err.Error()
	default:
		return err
	}
	return nil
}

// put puts the multihashes of an advertisement block by block, some of them at once. It
// can be interrupted after a block and go on there.
func (ap *Applier) put(ctx context.Context, it *Item, g ipni.Group, src Source) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ap.o.Timeout, errors.New("ingest: entries took too long"))
	defer cancel()
	before := *src.Progress
	left, done := before.Left, entries.Count{Blocks: before.Blocks, Multihashes: before.Multihashes, Bytes: before.Bytes}
	if len(left) == 0 {
		left, done = []cid.Cid{it.Ad.Entries}, entries.Count{}
	}
	s := src.Stream
	if s == nil {
		var err error
		if s, err = src.Start(ctx, left, done); err != nil {
			return done.Multihashes, err
		}
		defer s.Close()
	}
	var writes errgroup.Group
	writes.SetLimit(ap.o.Writes)
	var failed error
	yields := false
	for b, err := range s.All(src.Wait) {
		if err != nil {
			failed = err
			break
		}
		writes.Go(func() error { return ap.write(ctx, g, b.Multihashes) })
		enough := src.Read(uint64(b.Entries.Count))
		done = b.Count
		if b.Rest != nil || !yields {
			*src.Progress = state.Progress{
				Left: b.Rest, Epoch: g.Epoch, Blocks: done.Blocks, Multihashes: done.Multihashes, Bytes: done.Bytes,
			}
		}
		if enough && b.Rest != nil && !yields {
			yields = true
			s.Stop() // what is there already is put, too
		}
	}
	if err := writes.Wait(); err != nil { // what was not written must be read again
		*src.Progress = before
		return done.Multihashes, err
	}
	if yields && failed != nil && !errors.Is(failed, entries.ErrBad) { // it was stopped; else the end came first
		failed = ErrYield
	}
	return done.Multihashes, failed
}

// write gives multihashes to the sink. If that fails it is not for the publisher to
// answer for, unless they are malformed: the same errors can tell of corrupt rows.
func (ap *Applier) write(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	if len(mhs) == 0 {
		return nil
	}
	err := ap.sink.Put(ctx, g, mhs)
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, digest.ErrMismatch) {
		for _, bad := range mhs.All() {
			if bad != nil {
				return fmt.Errorf("%w: %w", entries.ErrBad, bad)
			}
		}
	}
	return Grave(err)
}

// Commit writes what becomes of an advertisement, all or nothing, with what more makes
// of its row. lag is how many are known to be left of the publisher's.
func (ap *Applier) Commit(ctx context.Context, it *Item, src Source, res Result, lag uint64, more func(state.Ad) []kv.Op) error {
	if res.unlock != nil {
		defer res.unlock()
	}
	now := time.Now()
	after := state.Ad{Status: res.Status, Tag: src.Tag, Order: it.Order, Epoch: res.Epoch, Count: res.Count, At: now, Reason: state.Cut(res.Reason)}
	ops := res.ops
	if it.Ad != nil {
		unlock, err := ap.changes.lock(ctx, it.Ad.Provider)
		if err != nil {
			return err
		}
		defer unlock()
		removed, err := ap.state.Removed(ctx, it.Ad.Provider)
		if src.Anew && errors.Is(err, digest.ErrMismatch) {
			err, ops = nil, append(ops, state.DropRemoved(it.Ad.Provider))
		}
		if err != nil {
			return Grave(err)
		}
		if it.Order <= removed && res.Heeded { // while it was worked on
			if err := ap.forget(ctx, it.Context(), removed); err != nil {
				return Grave(err)
			}
			after.Status, after.Reason, after.Epoch, res.Heeded = state.Skipped, removedLater, 0, false
			ops = nil
		}
	}
	if res.Heeded {
		changes, err := ap.change(ctx, it, src, res, lag, now)
		if err != nil {
			return err
		}
		ops = append(ops, changes...)
	}
	ops = append(append(ops, state.PutAd(it.CID, after)), more(after)...)
	if ctx.Err() != nil { // perhaps another node has the publisher now
		return context.Cause(ctx)
	}
	return Grave(ap.state.Batch(ctx, ops))
}
