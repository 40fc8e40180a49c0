package rebalance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
)

// Options of [NewAgent]. The zero value of a field means its default.
type Options struct {
	Replicas int           // copies of each partition; default 2
	Interval time.Duration // between looks at the table; default a sixth of the TTL
	Rate     int           // bytes a second that fills and drops may write; default 64 MiB
	Parallel int           // partitions that are filled or dropped at a time; default 2
	Window   int           // records that are read from another node as of one moment; default 1,048,576
	Batch    int           // bytes that are written at once; default 1 MiB
	Logger   *slog.Logger  // told what is done and what fails; default none
}

// Agent does what the table asks of one node.
type Agent struct {
	store   kv.Store
	table   *cluster.Table
	members *cluster.Members
	session *cluster.Session
	lease   *cluster.Lease
	replica *Replica
	dial    func(cluster.Member) (cluster.Node, error)
	opts    Options
	limit   *rate.Limiter
	room    chan struct{} // holds one when a job has ended

	mu      sync.Mutex
	jobs    map[byte]*job
	running int
}

// job is what is done for a partition.
type job struct {
	since   uint64    // the epoch of the state that asks for it
	filling bool      // else it is to be dropped
	at      time.Time // when that was first seen, and notes began
	fill    *fill
	cancel  context.CancelFunc // of what runs; nil if nothing does
}

// NewAgent returns the agent of the member that session is of, whose store is replica. dial makes
// the way to another member. The heartbeats are the business of [cluster.Session.Run].
func NewAgent(store kv.Store, members *cluster.Members, session *cluster.Session, replica *Replica, dial func(cluster.Member) (cluster.Node, error), o *Options) *Agent {
	a := &Agent{
		store: store, table: cluster.NewTable(store), members: members, session: session,
		lease: cluster.NewLease(store, members.Timing()), replica: replica, dial: dial, jobs: map[byte]*job{},
		room: make(chan struct{}, 1),
	}
	if o != nil {
		a.opts = *o
	}
	for field, value := range map[*int]int{&a.opts.Replicas: 2, &a.opts.Rate: 64 << 20, &a.opts.Parallel: 2, &a.opts.Window: 1 << 20, &a.opts.Batch: 1 << 20} {
		if *field <= 0 {
			*field = value
		}
	}
	if a.opts.Interval <= 0 {
		a.opts.Interval = members.Timing().TTL / 6
	}
	if a.opts.Logger == nil {
		a.opts.Logger = slog.New(slog.DiscardHandler)
	}
	a.limit = rate.NewLimiter(rate.Limit(a.opts.Rate), max(a.opts.Rate/4, 1))
	return a
}

// Run works until ctx ends. It returns when all that it started has ended.
func (a *Agent) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	defer func() {
		for p := range cluster.Partitions {
			a.replica.end(byte(p))
		}
	}()
	for ctx.Err() == nil {
		if err := a.step(ctx, &all); err != nil && ctx.Err() == nil {
			a.opts.Logger.Warn("rebalance", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-a.room: // the next one need not wait
		case <-time.After(a.opts.Interval):
		}
	}
	return context.Cause(ctx)
}

// Copies returns how many partitions the member has copies of, in which state; those that it
// is to drop have the state "". A member that drains may leave when it has none.
func (a *Agent) Copies(ctx context.Context) (map[cluster.State]int, error) {
	rows, err := a.table.Load(ctx)
	if err != nil {
		return nil, err
	}
	count := map[cluster.State]int{}
	for _, row := range rows {
		if x, ok := row.Replica(a.session.ID()); ok {
			count[x.State]++
		}
		if _, ok := row.Leaves(a.session.ID()); ok {
			count[""]++
		}
	}
	return count, nil
}

// step looks at the table once.
func (a *Agent) step(ctx context.Context, all *sync.WaitGroup) error {
	look, cancel := context.WithTimeout(ctx, a.members.Timing().TTL)
	defer cancel()
	members, err := a.members.List(look)
	if err != nil {
		return err
	}
	if err := a.adapt(look, members); err != nil {
		return err
	}
	rows, err := a.table.Load(look)
	if err != nil {
		return err
	}
	for p := range rows {
		if err := a.assess(look, byte(p), &rows[p]); err != nil {
			return err
		}
	}
	a.start(ctx, all, rows, members)
	return nil
}

// adapt changes the table to what the members ask for, if this node has the lease.
func (a *Agent) adapt(ctx context.Context, members []cluster.Status) error {
	held, err := a.lease.Hold(ctx, a.session.ID())
	if err != nil || !held {
		return err
	}
	rows, err := a.table.Load(ctx)
	if err != nil {
		return err
	}
	for p := range rows {
		row := &rows[p]
		if row.Epoch == 0 {
			return a.found(ctx, members)
		}
		if _, err := a.table.Adapt(ctx, byte(p), row, members, a.opts.Replicas); err != nil {
			return err
		}
	}
	return nil
}

// found gives the partitions that have no row to this node, if it is a store, and that with which the cluster began
// if that is known.
func (a *Agent) found(ctx context.Context, members []cluster.Status) error {
	of, err := a.table.Founding(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && of.Store != a.session.Store() {
		return err
	}
	for _, m := range members {
		if m.ID == a.session.ID() && m.Has(cluster.RoleStore) {
			return a.table.Found(ctx, m.ID)
		}
	}
	return nil
}

// assess compares what is done for a partition with what its row asks for.
func (a *Agent) assess(ctx context.Context, p byte, row *cluster.Row) error {
	id := a.session.ID()
	x, has := row.Replica(id)
	if has && x.State == cluster.Behind && row.Count(cluster.Ready) > 0 {
		now, err := a.table.Update(ctx, p, func(r *cluster.Row) error {
			if y, ok := r.Replica(id); ok && y == x {
				r.Set(id, cluster.Filling)
			}
			return nil
		})
		if err != nil {
			return err
		}
		*row = now
		x, has = row.Replica(id)
	}
	gone, leaves := row.Leaves(id)
	filling := has && x.State == cluster.Filling
	since := max(x.Since, gone.Since)

	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[p]
	if j != nil && j.filling == filling && j.since == since && (filling || leaves) && (j.fill == nil || !j.fill.lost()) {
		return nil
	}
	if j != nil && j.cancel != nil {
		j.cancel() // it is taken away when it has ended
		return nil
	}
	a.replica.end(p)
	delete(a.jobs, p)
	if filling || leaves {
		j = &job{since: since, filling: filling, at: time.Now()}
		if filling {
			j.fill = a.replica.begin(p)
		}
		a.jobs[p] = j
	}
	return nil
}

// start starts jobs that have waited long enough, as many as may run.
func (a *Agent) start(ctx context.Context, all *sync.WaitGroup, rows *[cluster.Partitions]cluster.Row, members []cluster.Status) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, j := range a.jobs {
		wait := a.members.Timing().Settle()
		if !j.filling {
			wait *= 2 // readers whose table is old
		}
		if a.running >= a.opts.Parallel || j.cancel != nil || time.Since(j.at) < wait {
			continue
		}
		var run func(context.Context) error
		if j.filling {
			source, ok := a.source(&rows[p], members)
			if !ok {
				continue
			}
			run = func(ctx context.Context) error { return a.refill(ctx, p, j, source) }
		} else {
			run = func(ctx context.Context) error { return a.drop(ctx, p, j) }
		}
		jobCtx, cancel := context.WithCancel(ctx)
		j.cancel = cancel
		a.running++
		all.Go(func() {
			err := run(jobCtx)
			cancel()
			a.done(p, j, err)
		})
	}
}

// done makes room for the next job.
func (a *Agent) done(p byte, j *job, err error) {
	log := a.opts.Logger.With("partition", fmt.Sprintf("%02x", p), "fill", j.filling)
	switch {
	case err == nil:
		log.Info("partition done")
	case !errors.Is(err, context.Canceled):
		log.Warn("partition", "error", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.running--
	j.cancel = nil
	if err != nil {
		return // to be tried again after the interval
	}
	a.replica.end(p)
	delete(a.jobs, p)
	select {
	case a.room <- struct{}{}:
	default:
	}
}
