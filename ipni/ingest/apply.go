package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// errYield says that it is another's turn in the midst of an advertisement.
var errYield = errors.New("ingest: it is another's turn")

// result is what becomes of an advertisement.
type result struct {
	status state.Status
	reason string
	epoch  uint64
	count  uint64
	heeded bool // the provider is whom it may speak of
	ops    []kv.Op

	missing  bool // entries are still to be had
	deferred bool // because the node is frozen
}

// allowed reports whether the policy lets an advertisement be heeded.
func (tn *turn) allowed(a *ad.Ad) bool { return tn.in.lists.CheckAd(tn.t.id, a) == nil }

// source is where the entries of an advertisement come from.
type source struct {
	gap    *state.Gap      // where progress in the midst of it is kept, or nil
	stream *entries.Stream // already begun, or nil
}

// apply does what an advertisement says, except for what is written with its status.
// Whatever it did before is done again to the same effect.
func (tn *turn) apply(ctx context.Context, it *item, floor uint64, src source) (result, error) {
	if it.ad == nil {
		return result{status: state.Skipped, reason: it.bad.Error()}, nil
	}
	if err := tn.in.lists.CheckAd(tn.t.id, it.ad); err != nil {
		return result{status: state.Skipped, reason: err.Error()}, nil
	}
	c := it.context()
	unlock, err := tn.in.contexts.lock(ctx, c)
	if err != nil {
		return result{}, err
	}
	defer unlock()
	removed, err := tn.in.state.Removed(ctx, c.Provider)
	if err != nil {
		return result{}, grave(err)
	}
	st, err := tn.in.state.Context(ctx, c)
	if err != nil {
		return result{}, grave(err)
	}
	st.RemovedAt = max(st.RemovedAt, removed)
	switch a := it.ad; {
	case it.order <= removed:
		return result{status: state.Skipped, reason: "the provider was removed later"}, nil
	case a.Remove:
		return tn.remove(ctx, it, c, st)
	case it.removed || it.order < st.RemovedAt:
		return result{status: state.Skipped, reason: "the context was removed later", heeded: true}, nil
	case len(a.Metadata) == 0 && a.Entries.Defined():
		return result{status: state.Skipped, reason: "entries without metadata", heeded: true}, nil
	case len(a.Metadata) == 0 || len(a.ContextID) == 0 && !a.Entries.Defined(): // addresses, or extended providers of the chain
		return result{status: state.Indexed, heeded: true}, nil
	}
	return tn.add(ctx, it, c, st, floor, src)
}

// remove removes a context as far as it is older.
func (tn *turn) remove(ctx context.Context, it *item, c ipni.Context, st state.Context) (result, error) {
	before, next := st.Cut(it.order)
	if err := tn.in.sink.Remove(ctx, c, before); err != nil {
		return result{}, grave(err)
	}
	if st.MetadataAt < it.order {
		if err := tn.in.sink.PutMetadata(ctx, c, nil); err != nil {
			return result{}, grave(err)
		}
	}
	return result{status: state.Indexed, heeded: true, ops: []kv.Op{state.PutContext(c, next)}}, nil
}

// add puts metadata, unless there is a newer one, and entries.
func (tn *turn) add(ctx context.Context, it *item, c ipni.Context, st state.Context, floor uint64, src source) (result, error) {
	in := tn.in
	res := result{status: state.Indexed, heeded: true}
	if it.order >= st.MetadataAt {
		if err := in.sink.PutMetadata(ctx, c, it.ad.Metadata); err != nil {
			return result{}, grave(err)
		}
		st.MetadataAt = it.order
	}
	if it.ad.Entries.Defined() {
		if in.isFrozen() {
			res.missing, res.deferred, res.reason = true, true, "the node is frozen"
		} else if err := tn.addEntries(ctx, it, c, &st, floor, src, &res); err != nil {
			return result{}, err
		}
	}
	if res.missing {
		res.status = state.Pending
	}
	res.ops = append(res.ops, state.PutContext(c, st))
	return res, nil
}

// addEntries puts entries into their group. What was put of bad or missing ones stays:
// the provider did say that it has them.
func (tn *turn) addEntries(ctx context.Context, it *item, c ipni.Context, st *state.Context, floor uint64, src source, res *result) error {
	epoch, next := st.Place(it.order, floor, tn.tag)
	if it.row.Epoch > st.RemovedAt { // it was put before, and is put there again
		epoch, next = it.row.Epoch, *st
	}
	count, err := tn.put(ctx, it, ipni.Group{Context: c, Epoch: epoch}, src)
	switch {
	case err == nil:
	case errors.Is(err, entries.ErrBad):
		res.status, res.reason = state.Skipped, err.Error()
	case errors.Is(err, fs.ErrNotExist) && !asSerious(err):
		res.missing, res.reason = true, err.Error()
	default:
		return err
	}
	res.epoch, res.count = epoch, count
	*st = next
	return nil
}

// put puts the multihashes of an advertisement block by block, some of them at once. It
// can be interrupted after a block and go on there.
func (tn *turn) put(ctx context.Context, it *item, g ipni.Group, src source) (uint64, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, tn.in.o.EntryTimeout, errors.New("ingest: entries took too long"))
	defer cancel()
	root, done := it.ad.Entries, entries.Count{}
	if src.gap != nil && src.gap.Resume.Defined() {
		root = src.gap.Resume
		done = entries.Count{Blocks: src.gap.ResumeDone, Multihashes: src.gap.ResumeCount, Bytes: src.gap.ResumeBytes}
	}
	s := src.stream
	if s == nil {
		var err error
		if s, err = tn.stream(ctx, root, done); err != nil {
			return done.Multihashes, err
		}
		defer s.Close()
	}
	var writes errgroup.Group
	writes.SetLimit(tn.in.o.Writes)
	var failed error
	yield := false
	for b, err := range s.All() {
		if err != nil {
			failed = err
			break
		}
		writes.Go(func() error { return tn.write(ctx, g, b.Multihashes) })
		tn.pay(0, uint64(b.Entries.Count))
		done = b.Count
		if src.gap == nil {
			continue
		}
		setResume(src.gap, b)
		if yield = b.Resume.Defined() && tn.yields(); yield {
			break
		}
	}
	if err := writes.Wait(); err != nil {
		if src.gap != nil { // what was not written must be read again
			tn.clearResume(src.gap)
		}
		return done.Multihashes, err
	}
	if failed == nil && yield {
		failed = errYield
	}
	return done.Multihashes, failed
}

func setResume(g *state.Gap, b entries.Block) {
	g.Resume, g.ResumeDone, g.ResumeCount, g.ResumeBytes = b.Resume, b.Count.Blocks, b.Count.Multihashes, b.Count.Bytes
	if !b.Resume.Defined() {
		g.ResumeDone, g.ResumeCount, g.ResumeBytes = 0, 0, 0
	}
}

// write gives multihashes to the sink. If that fails it is not for the publisher to
// answer for, unless they are malformed: the same errors can tell of corrupt rows.
func (tn *turn) write(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	if len(mhs) == 0 {
		return nil
	}
	err := tn.in.sink.Put(ctx, g, mhs)
	if errors.Is(err, fs.ErrInvalid) || errors.Is(err, digest.ErrMismatch) {
		for _, bad := range mhs.All() {
			if bad != nil {
				return fmt.Errorf("%w: %w", entries.ErrBad, bad)
			}
		}
	}
	return grave(err)
}

// stream begins to fetch entries.
func (tn *turn) stream(ctx context.Context, root cid.Cid, done entries.Count) (*entries.Stream, error) {
	chain, err := tn.chain(ctx)
	if err != nil {
		return nil, err
	}
	return entries.Start(ctx, root, done, tn.in.o.Entries, func(ctx context.Context, c cid.Cid) ([]byte, error) {
		return tn.in.fetch(ctx, chain, c, ipni.EntryChunk)
	}), nil
}

// commit writes what becomes of an advertisement with more, all or nothing.
func (tn *turn) commit(ctx context.Context, it *item, res result, more []kv.Op) error {
	in, now := tn.in, time.Now()
	row := state.Ad{Status: res.status, Tag: tn.tag, Order: it.order, Epoch: res.epoch, Count: res.count, At: now, Reason: state.Cut(res.reason)}
	ops := append([]kv.Op{state.PutAd(it.cid, row)}, res.ops...)
	if it.ad != nil {
		unlock, err := in.changes.lock(ctx, it.ad.Provider)
		if err != nil {
			return err
		}
		defer unlock()
		removed, err := in.state.Removed(ctx, it.ad.Provider)
		if err != nil {
			return grave(err)
		}
		if it.order <= removed { // while it was worked on
			if err := in.sink.Remove(ctx, it.context(), removed); err != nil {
				return grave(err)
			}
			row.Status, row.Reason, row.Epoch, res.heeded = state.Skipped, "the provider was removed later", 0, false
			ops = []kv.Op{state.PutAd(it.cid, row)}
		}
	}
	if res.heeded {
		changes, err := tn.registry(ctx, it, res, now)
		if err != nil {
			return err
		}
		ops = append(ops, changes...)
	}
	tn.count(it, row, now)
	ops = append(append(ops, more...), state.PutPublisher(&tn.row))
	if err := in.state.Batch(ctx, ops); err != nil {
		return grave(err)
	}
	return nil
}

// count keeps the numbers that status shows.
func (tn *turn) count(it *item, row state.Ad, now time.Time) {
	tn.row.Tries, tn.row.Error = 0, ""
	if row.Status == state.Pending {
		return
	}
	tn.row.Ads++
	tn.row.Multihash += row.Count
	if row.Status == state.Skipped {
		tn.row.Skips++
	}
	tn.row.LastAd, tn.row.LastAdTime = it.cid, now
}

// registry returns the writes for what is learned of the provider.
func (tn *turn) registry(ctx context.Context, it *item, res result, now time.Time) ([]kv.Op, error) {
	in, a := tn.in, it.ad
	if in.registry == nil {
		return nil, nil
	}
	lag, active := int(min(tn.lag(), 1<<31)), false
	c := registry.Change{
		Provider: a.Provider, Order: it.order, Addrs: in.public(a.Addrs), Advertisement: a.CID, AdvertisementTime: now,
		Publisher: &peer.AddrInfo{ID: tn.t.id, Addrs: parseAddrs(tn.row.Addrs)},
		Lag:       &lag, Failure: &registry.Failure{}, Inactive: &active,
	}
	if res.reason != "" && !res.deferred && res.status != state.Indexed {
		c.Failure = &registry.Failure{Text: res.reason, Time: now}
	}
	if x := a.Extended; x != nil {
		c.Extended = &registry.Set{ContextID: string(a.ContextID), Override: x.Override}
		for _, p := range x.Providers {
			e := registry.Extended{Metadata: p.Metadata}
			e.ID, e.Addrs = p.ID, in.public(p.Addrs)
			c.Extended.Providers = append(c.Extended.Providers, e)
		}
	}
	ops, err := in.registry.Apply(ctx, c)
	if errors.Is(err, fs.ErrInvalid) { // what it says of its provider is no good; the rest holds
		ops, err = in.registry.Apply(ctx, registry.Change{Provider: a.Provider, Failure: &registry.Failure{Text: err.Error(), Time: now}})
	}
	return ops, grave(err)
}

// public returns the addresses that clients of this index can use.
func (in *Ingester) public(addrs []multiaddr.Multiaddr) []multiaddr.Multiaddr {
	good, err := in.lists.Addrs(addrs)
	if err != nil {
		return nil // there is none, which is for clients to see
	}
	return good
}

// lag returns how many advertisements are known to be left, at least.
func (tn *turn) lag() uint64 { return lag(tn.gaps) }

func lag(gaps []*state.Gap) (n uint64) {
	for _, g := range gaps {
		n += g.Size - g.Done
		if g.Size == 0 || g.Next.Defined() {
			n++ // and what is before it
		}
	}
	return n
}
