// Package router writes to the replicas of partitions and reads from them.
//
// A [Router] is what stands before a cluster as package store does before one node: it
// takes what advertisements say, seals it, and answers lookups, those of hashed keys too.
// Any number of routers may work at a time.
//
// # Writes
//
// A write goes to all replicas of its partitions that are in sync or fill. It counts when all
// have it. If some fail, those that took it must include one in sync, and the others are
// marked as behind before the write counts.
//
// # Reads
//
// A replica in sync is asked; a second one when the first is slow, fails or has nothing.
// What one has is the answer. An answer that breaks off goes on from another replica. Absence
// needs all that are in sync to say so, and if the partition has other replicas too, or the table
// may have changed, a look at the table. Replicas that are not in sync are asked when the others do
// not all answer; what they have is told, and followed by [ipni.ErrIncomplete].
//
// # Errors
//
// As package cluster says. Absence is never told for what could not be asked for.
//
// A Router is safe for concurrent use.
package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
)

// Options of [New]. The zero value of a field means its default.
type Options struct {
	Timing  cluster.Timing  // of the cluster
	Read    time.Duration   // until a replica gives its first, and each further, value; default 5 s
	Hedge   time.Duration   // until a second replica is asked; default the 95th percentile of the first one, 1 ms to 500 ms
	Batch   int             // bytes of records that are sealed and sent at a time; default 4 MiB
	Workers int             // goroutines that seal a write; default one for each processor
	Breaker breaker.Options // of each member
}

// Router is the way to a cluster. What it knows of table and members is at most as old as [cluster.Timing] says; [Router.Run] keeps it
// young, and without it the calls do so themselves.
type Router struct {
	table   *cluster.Table
	members *cluster.Members
	dial    func(cluster.Member) (cluster.Node, error)
	opts    Options
	timing  cluster.Timing

	view    atomic.Pointer[view]
	loading chan struct{} // of one: held by who loads a view

	mu    sync.Mutex
	peers map[string]*peer

	buffers sync.Pool                        // of *valuestore.Records
	records [cluster.Partitions]sync.RWMutex // deletes wait for puts and puts for deletes
	sealed  [cluster.Partitions]sync.Mutex   // metadata is written in one order everywhere
}

var (
	_ ipni.Sink        = (*Router)(nil)
	_ ipni.Lookup      = (*Router)(nil)
	_ ipni.SealedStore = (*Router)(nil)
)

// New returns a router over the cluster whose state is in store. dial makes the
// way to a member; it is called again when the member's URL has changed.
func New(store kv.Store, dial func(cluster.Member) (cluster.Node, error), o *Options) *Router {
	r := &Router{table: cluster.NewTable(store), dial: dial, loading: make(chan struct{}, 1), peers: map[string]*peer{}}
	if o != nil {
		r.opts = *o
	}
	if r.opts.Read <= 0 {
		r.opts.Read = 5 * time.Second
	}
	if r.opts.Batch <= 0 {
		r.opts.Batch = 4 << 20
	}
	r.timing = r.opts.Timing.WithDefaults()
	r.members = cluster.NewMembers(store, r.timing)
	return r
}

// view is the table and the members as they were at a moment.
type view struct {
	rows    *[cluster.Partitions]cluster.Row
	members map[string]cluster.Member
	at      time.Time // before it was read
	old     atomic.Bool
}

func (r *Router) young(v *view) bool {
	return v != nil && !v.old.Load() && time.Since(v.at) < r.timing.View
}

// fresh returns a view that is young enough to rely on. With an error it may
// return one that is not.
func (r *Router) fresh(ctx context.Context) (*view, error) {
	if v := r.view.Load(); r.young(v) {
		return v, nil
	}
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
	case <-ctx.Done():
		return r.view.Load(), context.Cause(ctx)
	}
	if v := r.view.Load(); r.young(v) {
		return v, nil
	}
	return r.load(ctx)
}

// load reads a view; r.loading is held.
func (r *Router) load(ctx context.Context) (*view, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timing.View)
	defer cancel()
	v := &view{at: time.Now(), members: map[string]cluster.Member{}}
	var err error
	if v.rows, err = r.table.Load(ctx); err != nil {
		return r.view.Load(), err
	}
	members, err := r.members.List(ctx)
	if err != nil {
		return r.view.Load(), err
	}
	for _, m := range members {
		v.members[m.ID] = m.Member
	}
	r.view.Store(v)
	return v, nil
}

// Run keeps the view young until ctx ends.
func (r *Router) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(r.timing.View / 3):
		}
		r.reload(ctx)
	}
}

// reload reads a view if nobody else does. If it fails, the view grows old, and who relies
// on it tries again and has the error.
func (r *Router) reload(ctx context.Context) {
	select {
	case r.loading <- struct{}{}:
		defer func() { <-r.loading }()
		r.load(ctx)
	default:
	}
}

// peer is a member as this router sees it.
type peer struct {
	id      string
	url     string
	node    cluster.Node
	breaker *breaker.Breaker
	latency latency
}

// peer returns the way to a member.
func (r *Router) peer(v *view, id string) (*peer, error) {
	m, ok := v.members[id]
	if !ok {
		return nil, fmt.Errorf("router: %q is no member", id)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[id]
	if p != nil && p.url == m.URL {
		return p, nil
	}
	node, err := r.dial(m)
	if err != nil {
		return nil, fmt.Errorf("router: reach %q: %w", id, err)
	}
	p = &peer{id: id, url: m.URL, node: node, breaker: breaker.New(&r.opts.Breaker)}
	r.peers[id] = p
	return p, nil
}

// PeerStatus is how a member answers this router.
type PeerStatus struct {
	ID      string
	Breaker breaker.State
}

// Peers returns the members that were asked so far, in the order of their ids.
func (r *Router) Peers() []PeerStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []PeerStatus
	for id, p := range r.peers {
		all = append(all, PeerStatus{id, p.breaker.State()})
	}
	slices.SortFunc(all, func(a, b PeerStatus) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// latency remembers how long the last answers took.
type latency struct {
	mu    sync.Mutex
	ring  [64]time.Duration
	n     int
	value atomic.Int64 // the 95th percentile, computed now and then
}

func (l *latency) add(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring[l.n%len(l.ring)] = d
	l.n++
	if l.n%16 == 0 {
		sorted := slices.Clone(l.ring[:min(l.n, len(l.ring))])
		slices.Sort(sorted)
		l.value.Store(int64(sorted[len(sorted)*95/100]))
	}
}

func (l *latency) p95() time.Duration { return time.Duration(l.value.Load()) }

// hedge is how long to wait for p before another replica is asked.
func (r *Router) hedge(p *peer) time.Duration {
	if r.opts.Hedge > 0 {
		return r.opts.Hedge
	}
	const unknown = 50 * time.Millisecond
	if d := p.latency.p95(); d > 0 {
		return min(max(d, time.Millisecond), 500*time.Millisecond)
	}
	return unknown
}

// unavailable is the error of a partition for which too few replicas answered.
func unavailable(p byte, causes ...error) error {
	return fmt.Errorf("router: partition %02x: %w: %w", p, cluster.ErrUnavailable, errors.Join(causes...))
}
