// Package walk reads the chain of one publisher, a turn at a time: its head if that is
// wanted, then a segment of its newest gap, or entries that could not be had before.
// Everything that a turn knows is read from the store first and written to it at each
// advertisement, so that a turn after a crash is as any other.
//
// # Errors
//
// What the publisher is to blame for is part of the [Outcome], and recorded. Errors that
// are returned are those of the sink and the store, or of the context, or [attendance.ErrLost].
//
// A Walker is safe for concurrent use, as long as there is one turn of a publisher at a time.
package walk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/ahead"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/attendance"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// Open returns the chain of a publisher, whose heads and blocks are verified, and which
// is safe for concurrent use. One that has a method Close is closed when it is no longer
// used.
type Open func(ctx context.Context, publisher peer.AddrInfo) (ipni.Chain, error)

// Walker reads the chains of publishers.
type Walker struct {
	state    *state.Store
	applier  *apply.Applier
	registry *registry.Registry
	lists    *policy.Lists
	open     Open
	frozen   func() bool
	o        settings.Options
	memory   *entries.Budget
}

// New returns a walker. registry may be nil; frozen tells that no multihashes are taken.
func New(st *state.Store, applier *apply.Applier, registry *registry.Registry, lists *policy.Lists, open Open, frozen func() bool, o *settings.Options) *Walker {
	d := o.Defaults()
	return &Walker{
		state: st, applier: applier, registry: registry, lists: lists, open: open, frozen: frozen, o: d,
		memory: entries.NewBudget(d.PrefetchMemory),
	}
}

// Visit is what is kept of a publisher from turn to turn. It may be lost.
type Visit struct {
	ID peer.ID

	attendance.Attendance // of the turn

	chain     ipni.Chain
	through   string           // the addresses of chain
	segment   *segment         // what is fetched of the current one
	ahead     *ahead.Lookahead // and below it
	give      func()           // the memory of ahead back
	slow      bool             // in the last turn it kept us waiting for long
	free      time.Time        // when what was read is paid for, by the limits of rates
	hint      cid.Cid
	hintTries int
	failed    uint64 // turns, the last ones, after the head was told
}

// Slow reports whether the publisher kept the last turn waiting for long.
func (v *Visit) Slow() bool { return v.slow }

// Leave gives back the memory that is held between turns, as there is no next one for now.
func (v *Visit) Leave() {
	v.dropAhead()
	v.segment = nil
}

// Close closes the connection to the publisher, if there is one.
func (v *Visit) Close() {
	if l := v.ahead; l != nil {
		v.dropAhead()
		l.Wait()
	}
	if c, ok := v.chain.(io.Closer); ok {
		c.Close() // nothing was written to it
	}
	v.chain, v.through = nil, ""
}

// Wish is what is to be done in a turn, besides what the store says is left.
type Wish struct {
	Head   bool                  // ask for the head
	Addrs  []multiaddr.Multiaddr // that were announced
	Hint   cid.Cid               // that was announced
	All    bool                  // try now what could not be read
	Resync *uint64               // read this many advertisements again, 0 for all
}

// Outcome is what came of a turn.
type Outcome struct {
	Publisher state.Publisher
	Asked     time.Duration // after which the head is to be asked for again; 0 if it was not asked for
	Due       time.Time     // of the next turn, not to ask for the head
	Left      bool          // there is more to do, even if it is not due for the limits of rates
	Cause     error         // why something is left that could not be read
	Err       error         // what the publisher did not do; the turn did nothing else
	Damaged   error         // the row of the publisher is corrupt, which cannot be recorded in it
}

type turn struct {
	w     *Walker
	v     *Visit
	wish  Wish
	hurry func() bool     // the publisher was announced again
	run   context.Context // of the walker, which outlives the turn
	out   Outcome

	row   state.Publisher
	tag   state.Tag
	gaps  []*state.Gap // newest first
	end   time.Time    // of the slice
	retry time.Time    // when the first retry is due

	deferred bool // there are retries that wait for the node not to be frozen
	unread   bool // the row is corrupt
	anew     bool // everything is to be read again
}

func (w *Walker) turn(v *Visit) *turn {
	return &turn{w: w, v: v, tag: state.TagOf(v.ID), end: time.Now().Add(w.o.Slice)}
}

// Turn takes the turn of a publisher. hurry tells whether it should end soon, because
// there is news from the same publisher.
func (w *Walker) Turn(ctx context.Context, v *Visit, wish Wish, hurry func() bool) (Outcome, error) {
	tn := w.turn(v)
	tn.wish, tn.hurry, tn.run = wish, hurry, ctx
	inner, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	v.Begin(cancel)
	err := tn.load(inner)
	if wish.Resync != nil && (apply.IsDamage(err) || err == nil && tn.row.Damaged) {
		err = tn.clear(inner)
	}
	if err == nil {
		err = tn.work(inner)
	}
	if attendance.Lost(inner) { // nothing may be written any more
		return tn.out, attendance.ErrLost
	}
	var later postponed
	if errors.As(err, &later) {
		w.o.Trace.TellFailed(v.ID, later.error)
		tn.out.Cause, err = later.error, nil
	}
	v.slow = v.IsAside() && v.Waited() >= w.o.Patience
	if err != nil && ctx.Err() == nil && errors.Is(context.Cause(inner), attendance.ErrSlow) {
		err, v.slow = attendance.ErrSlow, true
	}
	if errors.Is(err, attendance.ErrSlow) || apply.IsDamage(err) {
		v.failed++
		tn.row.Tries = max(tn.row.Tries, v.failed-1) // though it told its head
	} else {
		v.failed = 0
	}
	if err != nil && (ctx.Err() != nil || apply.IsSerious(err)) {
		return tn.out, err
	}
	if err != nil {
		w.o.Trace.TellFailed(v.ID, err)
		tn.out.Err, tn.out.Cause = err, err
		if tn.unread {
			v.Close()
			tn.out.Damaged = err
			return tn.out, nil
		}
		tn.row.Damaged = tn.row.Damaged || apply.IsDamage(err)
		if err := tn.failed(ctx, err); err != nil {
			return tn.out, apply.Grave(err)
		}
	}
	now := time.Now()
	due := tn.nextDue(now)
	tn.out.Publisher, tn.out.Left, tn.out.Due = tn.row, !due.After(now), settings.Later(due, v.free.Add(-time.Second))
	for _, g := range tn.gaps {
		if tn.out.Cause == nil && g.Cause != "" {
			tn.out.Cause = fmt.Errorf("advertisements from %s on are still to be read: %s", g.From, g.Cause)
		}
	}
	return tn.out, nil
}

// Gaps returns what is left of the chain of a publisher, whether entries are to be asked
// for again, and whether some wait for the node not to be frozen.
func (w *Walker) Gaps(ctx context.Context, id peer.ID) (gaps []*state.Gap, missing, deferred bool, err error) {
	tn := w.turn(&Visit{ID: id})
	err = tn.load(ctx)
	return tn.gaps, tn.retry.Before(settings.Never()), tn.deferred, err
}

func (tn *turn) load(ctx context.Context) error {
	row, err := tn.w.state.Publisher(ctx, tn.v.ID)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = apply.Grave(err)
		tn.unread = apply.IsDamage(err)
		return err
	}
	row.ID = tn.v.ID
	tn.row = row
	if tn.gaps, err = tn.w.state.Gaps(ctx, tn.v.ID); err != nil {
		return apply.Grave(err)
	}
	return tn.loadRetries(ctx)
}

// work does what is due.
func (tn *turn) work(ctx context.Context) error {
	if tn.w.lists.Check(tn.v.ID) != nil {
		return nil
	}
	if tn.wish.Head {
		if err := tn.askHead(ctx); err != nil {
			return err
		}
	}
	if g := state.Pick(tn.gaps, time.Now()); g != nil {
		return tn.workGap(ctx, g)
	}
	if !tn.retry.After(time.Now()) || tn.deferred && !tn.w.frozen() {
		return tn.retries(ctx)
	}
	return nil
}

// failed records that the publisher did not do what it should.
func (tn *turn) failed(ctx context.Context, err error) error {
	now := time.Now()
	tn.row.Tries++
	tn.row.Error, tn.row.FailedAt = state.Cut(err.Error()), now
	was := tn.row.Inactive
	tn.row.Inactive = now.Sub(settings.Later(tn.row.ContactAt, tn.row.WantedAt)) >= tn.w.o.InactiveAfter
	tn.v.Close()
	if tn.row.ContactAt.IsZero() && tn.w.o.Stopped(&tn.row, now) {
		return tn.w.state.Batch(ctx, state.DropPublisher(tn.v.ID))
	}
	ops := []kv.Op{state.PutPublisher(&tn.row)}
	if tn.row.Inactive != was {
		return tn.w.applier.SetInactive(ctx, tn.v.ID, tn.row.Inactive, ops)
	}
	return tn.w.state.Batch(ctx, ops)
}

// nextDue returns when there is something to do besides asking for the head.
func (tn *turn) nextDue(now time.Time) time.Time {
	due := tn.retry
	if tn.deferred {
		if tn.w.frozen() {
			due = settings.Earlier(due, now.Add(tn.w.o.Refresh))
		} else {
			due = now
		}
	}
	for _, g := range tn.gaps {
		if !g.Parked {
			due = settings.Earlier(due, settings.Later(g.RetryAt, now))
		}
	}
	return due
}

// yields reports whether it is another's turn.
func (tn *turn) yields() bool {
	now := time.Now()
	return now.After(tn.end) || tn.v.free.Sub(now) > time.Second || tn.v.IsAside() || tn.hurry()
}

// pay accounts for what was read against the limits of rates. Up to a second of it is
// free; what is above is waited for between turns.
func (tn *turn) pay(ads, multihashes uint64) {
	d := 0.0
	if r := tn.w.o.AdRate; r > 0 {
		d += float64(ads) / r
	}
	if r := tn.w.o.EntryRate; r > 0 {
		d = max(d, float64(multihashes)/r)
	}
	tn.v.free = settings.Later(time.Now(), tn.v.free).Add(time.Duration(d * float64(time.Second)))
}

// connect opens the chain of the publisher through addrs.
func (tn *turn) connect(ctx context.Context, addrs []multiaddr.Multiaddr) error {
	through := string(bytes.Join(settings.AddrBytes(addrs), nil))
	if tn.v.chain != nil && tn.v.through == through {
		return nil
	}
	tn.v.Close()
	defer tn.v.Wait()()
	c, err := tn.w.open(ctx, peer.AddrInfo{ID: tn.v.ID, Addrs: addrs})
	if err == nil {
		tn.v.chain, tn.v.through = c, through
	}
	return err
}

// chain returns the chain of the publisher through the addresses that are known.
func (tn *turn) chain(ctx context.Context) (ipni.Chain, error) {
	if tn.v.chain == nil {
		if err := tn.connect(ctx, settings.ParseAddrs(tn.row.Addrs)); err != nil {
			return nil, fmt.Errorf("open chain: %w", err)
		}
	}
	return tn.v.chain, nil
}

// block fetches a block. That there is none matches fs.ErrNotExist.
func (tn *turn) block(ctx context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	chain, err := tn.chain(ctx)
	if err != nil {
		return nil, err
	}
	defer tn.v.Wait()()
	if l := tn.v.ahead; l != nil {
		if block, ok := l.Take(ctx, c); ok {
			return block, nil
		}
	}
	return tn.w.fetch(ctx, chain, c, kind)
}

func (w *Walker) fetch(ctx context.Context, chain ipni.Chain, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	fetch, cancel := context.WithTimeout(ctx, w.o.FetchTimeout)
	defer cancel()
	block, err := chain.Block(fetch, c, kind)
	if err != nil {
		return nil, fmt.Errorf("fetch %s %s: %w", kind, c, err)
	}
	return block, nil
}
