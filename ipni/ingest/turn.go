package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// turn is one turn of a publisher: its head if that is due, then a segment of its newest
// gap, or retries. Everything that it knows is read from the store first, so that a turn
// after a crash is as any other.
type turn struct {
	in    *Ingester
	t     *task
	row   state.Publisher
	tag   state.Tag
	gaps  []*state.Gap // newest first
	end   time.Time    // of the slice
	retry time.Time    // when the first retry is due

	wants    uint64 // of the task when the turn began
	deferred bool   // there are retries that wait for the node not to be frozen
}

// serious marks an error of the sink or the store, for which no publisher is to blame.
type serious struct{ error }

func (s serious) Unwrap() error { return s.error }

// grave makes a serious error of err, if it is one.
func grave(err error) error {
	if err == nil {
		return nil
	}
	return serious{err}
}

// serve takes the turn of a task, and says when its next one is due.
func (in *Ingester) serve(ctx context.Context, t *task) {
	tn := &turn{in: in, t: t, tag: state.TagOf(t.id), end: time.Now().Add(in.o.Slice)}
	in.mu.Lock()
	tn.wants = t.wants
	in.mu.Unlock()
	err := tn.load(ctx)
	if err == nil {
		err = tn.work(ctx)
	}
	var bad serious
	switch {
	case ctx.Err() != nil:
		in.release(t, time.Now())
	case err == nil:
		in.resume()
		tn.finish(nil)
	case errors.As(err, &bad):
		in.pause(err)
		in.release(t, time.Now())
	default:
		in.o.Trace.failed(t.id, err)
		if err := tn.failed(ctx, err); err != nil {
			in.pause(err)
			in.release(t, time.Now())
			return
		}
		tn.finish(err)
	}
}

// release ends a turn that did nothing.
func (in *Ingester) release(t *task, due time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	t.busy, t.due = false, due
}

// publisher returns the row of a publisher, and whether there is one.
func (in *Ingester) publisher(ctx context.Context, id peer.ID) (state.Publisher, bool, error) {
	p, err := in.state.Publisher(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return state.Publisher{ID: id}, false, nil
	}
	return p, err == nil, err
}

func (tn *turn) load(ctx context.Context) error {
	var err error
	if tn.row, _, err = tn.in.publisher(ctx, tn.t.id); err != nil {
		return grave(err)
	}
	if tn.gaps, err = tn.in.state.Gaps(ctx, tn.t.id); err != nil {
		return grave(err)
	}
	return tn.loadRetries(ctx)
}

// work does what is due.
func (tn *turn) work(ctx context.Context) error {
	in, t := tn.in, tn.t
	if err := in.lists.Check(t.id); err != nil {
		return nil // it was blocked; finish stops it
	}
	now := time.Now()
	in.mu.Lock()
	ask := !t.headAt.After(now)
	in.mu.Unlock()
	if ask {
		if err := tn.askHead(ctx); err != nil {
			return err
		}
	}
	if g := tn.pick(time.Now()); g != nil {
		return tn.workGap(ctx, g)
	}
	if !tn.retry.After(time.Now()) || tn.deferred && !in.isFrozen() {
		return tn.retries(ctx)
	}
	return nil
}

// pick returns the gap to be worked on: the newest, those that are read again last.
func (tn *turn) pick(now time.Time) *state.Gap {
	var again *state.Gap
	for _, g := range tn.gaps {
		switch {
		case g.Parked || g.RetryAt.After(now):
		case !g.Resync:
			return g
		case again == nil:
			again = g
		}
	}
	return again
}

// stopped reports whether a publisher was silent for so long that it is left alone.
func (in *Ingester) stopped(p *state.Publisher, now time.Time) bool {
	return p.Tries > 0 && now.Sub(later(p.ContactAt, p.WantedAt)) >= in.o.StopAfter
}

// failed records that the publisher did not do what it should.
func (tn *turn) failed(ctx context.Context, err error) error {
	now := time.Now()
	tn.row.Tries++
	tn.row.Error, tn.row.FailedAt = state.Cut(err.Error()), now
	was := tn.row.Inactive
	tn.row.Inactive = now.Sub(later(tn.row.ContactAt, tn.row.WantedAt)) >= tn.in.o.InactiveAfter
	tn.t.closeChain()
	if tn.row.ContactAt.IsZero() && tn.in.stopped(&tn.row, now) {
		return tn.in.state.Batch(ctx, state.DropPublisher(tn.t.id))
	}
	ops := []kv.Op{state.PutPublisher(&tn.row)}
	if tn.row.Inactive != was {
		inactive, err := tn.inactive(ctx)
		if err != nil {
			return err
		}
		ops = append(ops, inactive...)
	}
	return tn.in.state.Batch(ctx, ops)
}

// inactive returns the writes that tell those who look for the provider that it does not
// answer, if the publisher is one.
func (tn *turn) inactive(ctx context.Context) ([]kv.Op, error) {
	if tn.in.registry == nil {
		return nil, nil
	}
	if _, err := tn.in.registry.Provider(ctx, tn.t.id); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	yes := true
	return tn.in.registry.Apply(ctx, registry.Change{Provider: tn.t.id, Inactive: &yes})
}

// finish says when the next turn is due.
func (tn *turn) finish(err error) {
	in, t, now := tn.in, tn.t, time.Now()
	in.mu.Lock()
	defer in.mu.Unlock()
	t.busy, t.urgent = false, t.urgent && !t.headAt.After(now) && err == nil
	if !t.known && !tn.row.ContactAt.IsZero() {
		t.known = true
		in.unknown--
	}
	due, left := never, false
	switch {
	case in.lists.Check(t.id) != nil:
		t.headAt = never
	case err != nil && in.stopped(&tn.row, now):
		t.headAt = never
		if !t.known {
			in.dropTask(t)
		}
	case err != nil:
		due = now.Add(backoff(tn.row.Tries, time.Second, in.o.PollRetry))
		if t.wants == tn.wants {
			t.headAt = due
		}
		due = earlier(due, t.headAt) // it was announced again, perhaps with other addresses
	default:
		due = tn.nextDue(now)
		left = !due.After(now)
		due = earlier(later(due, t.free.Add(-time.Second)), t.headAt)
	}
	t.due = due
	if len(t.waiters) > 0 && t.wants == tn.wants && !left {
		tn.tell(err)
	}
	in.notify()
}

// nextDue returns when there is something to do besides asking for the head.
func (tn *turn) nextDue(now time.Time) time.Time {
	due := tn.retry
	if tn.deferred {
		if tn.in.frozenNow() {
			due = earlier(due, now.Add(tn.in.o.Refresh))
		} else {
			due = now
		}
	}
	for _, g := range tn.gaps {
		if !g.Parked {
			due = earlier(due, later(g.RetryAt, now))
		}
	}
	return due
}

// tell ends the wait of those who called Sync; in.mu is held.
func (tn *turn) tell(err error) {
	for _, g := range tn.gaps {
		if err == nil && g.Cause != "" {
			err = fmt.Errorf("advertisements from %s on are still to be read: %s", g.From, g.Cause)
		}
	}
	for _, w := range tn.t.waiters {
		w <- err
	}
	tn.t.waiters = nil
}

// yields reports whether it is another's turn.
func (tn *turn) yields() bool {
	now := time.Now()
	return now.After(tn.end) || tn.t.free.Sub(now) > time.Second || tn.in.isUrgent(tn.t)
}

// pay accounts for what was read against the limits of rates. Up to a second of it is
// free; what is above is waited for between turns.
func (tn *turn) pay(ads, multihashes uint64) {
	d := 0.0
	if r := tn.in.o.AdRate; r > 0 {
		d += float64(ads) / r
	}
	if r := tn.in.o.EntryRate; r > 0 {
		d = max(d, float64(multihashes)/r)
	}
	tn.t.free = later(time.Now(), tn.t.free).Add(time.Duration(d * float64(time.Second)))
}

// connect opens the chain of the publisher through addrs.
func (tn *turn) connect(ctx context.Context, addrs []multiaddr.Multiaddr) error {
	through := string(bytes.Join(addrBytes(addrs), nil))
	if tn.t.chain != nil && tn.t.through == through {
		return nil
	}
	tn.t.closeChain()
	c, err := tn.in.open(ctx, peer.AddrInfo{ID: tn.t.id, Addrs: addrs})
	if err == nil {
		tn.t.chain, tn.t.through = c, through
	}
	return err
}

// chain returns the chain of the publisher through the addresses that are known.
func (tn *turn) chain(ctx context.Context) (ipni.Chain, error) {
	if tn.t.chain == nil {
		if err := tn.connect(ctx, parseAddrs(tn.row.Addrs)); err != nil {
			return nil, fmt.Errorf("open chain: %w", err)
		}
	}
	return tn.t.chain, nil
}

// block fetches a block. That there is none matches fs.ErrNotExist.
func (tn *turn) block(ctx context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	chain, err := tn.chain(ctx)
	if err != nil {
		return nil, err
	}
	return tn.in.fetch(ctx, chain, c, kind)
}

func (in *Ingester) fetch(ctx context.Context, chain ipni.Chain, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	fetch, cancel := context.WithTimeout(ctx, in.o.FetchTimeout)
	defer cancel()
	block, err := chain.Block(fetch, c, kind)
	if err != nil {
		return nil, fmt.Errorf("fetch %s %s: %w", kind, c, err)
	}
	return block, nil
}

func addrBytes(addrs []multiaddr.Multiaddr) [][]byte {
	var out [][]byte
	for _, a := range addrs {
		out = append(out, a.Bytes())
	}
	return out
}

func parseAddrs(addrs [][]byte) []multiaddr.Multiaddr {
	var out []multiaddr.Multiaddr
	for _, b := range addrs {
		if a, err := multiaddr.NewMultiaddrBytes(b); err == nil {
			out = append(out, a)
		}
	}
	return out
}
