// Package ingest turns chains of advertisements into records of a provider index.
//
// # What is read first
//
// What is still to be read of a publisher's chain is a set of gaps. A new head opens a
// gap down to the head before it. The newest gap is worked first, in segments: up to
// some thousand advertisements are fetched from the newest to the oldest, then processed
// from the oldest to the newest. So what was said last is served while the history
// loads, memory is bounded, and a restart goes on at the next advertisement. Package
// state tells how removals that are found late hit what is older and nothing else.
//
// # Whom it believes
//
// An announcement is a hint that there is something new, which anybody can give. What
// is read is the chain below the head that the publisher itself signed, as its
// [ipni.Chain] returns it: the announced CID is never fetched for being announced. Its
// addresses are used only if they are public, and replace those that are known only if
// a newer head was had through them, or the others do not answer. See package policy for who may speak for whom.
//
// # What goes wrong
//
// An advertisement that is malformed, forged or not allowed is skipped with a recorded
// cause. One that cannot be read ends the segment: what is newer is processed, the rest
// is retried. Entries that the publisher does not have are asked for again for days
// while the chain goes on. If the sink or the store fails, everything waits. If a row is
// corrupt, its publisher stops, and [Ingester.Resync] reads all of its chain anew. Nothing
// of this marks an advertisement as processed.
//
// A publisher that is slow is waited for without a worker: see [settings.Options.Patience].
//
// # Errors
//
// What is not allowed matches [io/fs.ErrPermission], what is unknown [io/fs.ErrNotExist],
// an announcement that cannot be queued [ErrBusy].
//
// An Ingester is safe for concurrent use. Its work is done by [Ingester.Run]. Of several
// nodes on one store, at most one may work on a publisher at a time: see [Options].
package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ingest/walk"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv"
)

// ErrBusy says that too many publishers wait for their first contact, of which none failed yet.
var ErrBusy = errors.New("ingest: too many unknown publishers wait")

// ErrElsewhere says that another node works on a publisher.
var ErrElsewhere = errors.New("ingest: another node works on the publisher")

// The parts of the work, which have packages of their own.
type (
	Options = settings.Options
	Trace   = settings.Trace
	AdEvent = settings.AdEvent
	Open    = walk.Open
)

// Ingester reads the chains of publishers.
type Ingester struct {
	state   *state.Store
	o       Options
	lists   *policy.Lists
	applier *apply.Applier
	walker  *walk.Walker

	mu      sync.Mutex
	tasks   map[peer.ID]*task
	wake    chan struct{} // closed and replaced when there may be more to do
	turns   uint64
	frozen  bool
	paused  pause
	unknown int // tasks of publishers that never answered
	aside   int // turns that go on without a worker

	running sync.WaitGroup // turns

	freezing sync.Mutex // held while frozen changes with its row, or is read from it; taken before mu
	noted    *bool      // whether the registry tells that the node is frozen; guarded by freezing
}

// pause is that the sink or the store failed.
type pause struct {
	cause error
	tries uint64
	until time.Time
}

// New returns an ingester that keeps its state in store, and gives what it learns to sink
// and to registry, which lies in the same store or is nil.
func New(store kv.Store, sink ipni.Sink, registry *registry.Registry, open Open, o *Options) *Ingester {
	in := &Ingester{state: state.New(store), o: o.Defaults(), tasks: map[peer.ID]*task{}, wake: make(chan struct{})}
	in.lists = policy.New(store, in.o.Policy)
	in.applier = apply.New(in.state, sink, registry, in.lists, &apply.Options{Writes: in.o.Writes, Timeout: in.o.EntryTimeout, Frozen: in.Frozen})
	in.walker = walk.New(in.state, in.applier, registry, in.lists, open, in.Frozen, &in.o)
	return in
}

// Run works until ctx ends, and returns its cause.
func (in *Ingester) Run(ctx context.Context) error {
	for tries := uint64(1); ; tries++ {
		err := in.load(ctx, true)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		in.tracePause(fmt.Errorf("ingest: load state: %w", err))
		if !sleep(ctx, settings.Backoff(tries, time.Second, in.o.MaxPause)) {
			return context.Cause(ctx)
		}
	}
	var workers sync.WaitGroup
	for i := range in.o.Workers {
		workers.Go(func() { in.work(ctx, i) })
	}
	for again := true; again; again = sleep(ctx, in.o.Refresh) {
		err := in.load(ctx, false)
		if err == nil {
			in.freezing.Lock()
			err = in.noteFrozen(ctx)
			in.freezing.Unlock()
		}
		if err != nil && ctx.Err() == nil {
			in.tracePause(fmt.Errorf("ingest: load state: %w", err))
		}
	}
	workers.Wait()
	in.running.Wait()
	in.closeChains()
	return context.Cause(ctx)
}

// pollPace is the time for each publisher over which a start spreads its questions: few are
// asked at once.
const pollPace = 100 * time.Millisecond

// load reads the policy and who publishes. Other nodes may have changed both.
func (in *Ingester) load(ctx context.Context, first bool) error {
	if err := in.lists.Load(ctx); err != nil {
		return err
	}
	if err := in.loadFrozen(ctx); err != nil {
		return err
	}
	var rows []state.Publisher
	for p, err := range in.state.Publishers(ctx) {
		if err != nil && (p.ID == "" || !errors.Is(err, digest.ErrMismatch)) {
			return err
		}
		rows = append(rows, p)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	for _, p := range rows {
		if _, ok := in.tasks[p.ID]; ok {
			continue
		}
		t := in.addTask(p.ID, !p.ContactAt.IsZero())
		t.tries = p.Tries
		// An announcement may have come while this node was down.
		t.headAt = now.Add(spread(p.ID, min(in.o.StartSpread, time.Duration(len(rows))*pollPace)))
		if !first || p.ContactAt.IsZero() {
			t.headAt = now
		}
		if in.o.Stopped(&p, now) {
			t.headAt = settings.Never()
		}
		t.due = now
	}
	in.notify()
	return nil
}

// Announce tells that a publisher says it has something new. It is durable when it
// returns, and worked on later. The cid is a hint and may be undefined.
func (in *Ingester) Announce(ctx context.Context, hint cid.Cid, publisher peer.AddrInfo) error {
	if _, err := in.want(ctx, publisher, func(t *task) { t.wish.Hint = hint }, hint); err != nil {
		return fmt.Errorf("ingest: announce %s of %s: %w", hint, publisher.ID, err)
	}
	return nil
}

// want makes the head of a publisher wanted. If hint is known nothing is done.
func (in *Ingester) want(ctx context.Context, publisher peer.AddrInfo, f func(*task), hint cid.Cid) (*task, error) {
	if err := publisher.ID.Validate(); err != nil {
		return nil, err
	}
	if err := in.lists.Check(publisher.ID); err != nil {
		return nil, err
	}
	if !in.o.Owns(publisher.ID) {
		return nil, ErrElsewhere
	}
	row, known, err := in.row(ctx, publisher.ID)
	if errors.Is(err, digest.ErrMismatch) { // a resync is the way out
		row, known, err = state.Publisher{ID: publisher.ID, Addrs: settings.AddrBytes(in.walker.Addrs(ctx, publisher.ID))}, true, nil
	}
	if err != nil {
		return nil, err
	}
	addrs, err := in.lists.Addrs(publisher.Addrs)
	if err != nil && (len(publisher.Addrs) > 0 || len(row.Addrs) == 0 && !in.o.Unaddressed) {
		return nil, err
	}
	if hint.Defined() {
		a, err := in.state.AdOf(ctx, state.TagOf(publisher.ID), hint)
		if err != nil {
			return nil, err
		}
		if a.Status != state.Unknown {
			return nil, nil
		}
	}
	in.mu.Lock()
	t, ok := in.tasks[publisher.ID]
	var gone *task
	if !ok && !known && in.unknown >= in.o.MaxUnknown {
		if gone = in.worst(); gone == nil {
			in.mu.Unlock()
			return nil, ErrBusy
		}
		in.dropTask(gone)
	}
	if !ok {
		t = in.addTask(publisher.ID, known && !row.ContactAt.IsZero())
	}
	in.mu.Unlock()
	ops := in.discarded(ctx, gone)
	if !known {
		row.Addrs, row.WantedAt = settings.AddrBytes(addrs), time.Now()
		if err := in.state.Batch(ctx, append(ops, state.PutPublisher(&row))); err != nil {
			return nil, err
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	if len(addrs) > 0 {
		t.wish.Addrs = addrs
	}
	// Whoever announces must not make us ask more often than is good for the publisher.
	t.urgent = true
	t.headAt = settings.Earlier(t.headAt, settings.Later(now, t.askedAt.Add(in.o.HeadInterval)))
	t.due = settings.Earlier(t.due, t.headAt)
	t.wants++
	f(t)
	in.notify()
	return t, nil
}

// SyncOptions says how much to read.
type SyncOptions struct {
	// Resync reads again what was processed, and repairs what is missing. The default is
	// to read only what is new.
	Resync bool
	// Depth is how many advertisements are read again at most, 0 for all.
	Depth uint64
}

// Sync asks a publisher for its head now and waits until what is new is processed, as
// far as it can be. It returns the cause if something of it could not be read.
func (in *Ingester) Sync(ctx context.Context, publisher peer.AddrInfo, o *SyncOptions) error {
	if o == nil {
		o = &SyncOptions{}
	}
	done := make(chan error, 1)
	_, err := in.want(ctx, publisher, func(t *task) {
		t.headAt, t.due = time.Now(), time.Now()
		t.waiters, t.wish.All = append(t.waiters, done), true
		if o.Resync {
			t.wish.Resync = &o.Depth
		}
	}, cid.Undef)
	if err == nil {
		select {
		case err = <-done:
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("ingest: sync with %s: %w", publisher.ID, err)
	}
	return nil
}

// Resync processes the newest depth advertisements of a known publisher again, 0 for
// all, when their turn comes.
func (in *Ingester) Resync(ctx context.Context, publisher peer.ID, depth uint64) error {
	if _, err := in.want(ctx, peer.AddrInfo{ID: publisher}, func(t *task) { t.wish.Resync = &depth }, cid.Undef); err != nil {
		return fmt.Errorf("ingest: resync %s: %w", publisher, err)
	}
	return nil
}
