package assign

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/kv"
)

// Options of [New]. The zero value of a field means its default.
type Options struct {
	Replicas int           // followers of each publisher; default 1
	Interval time.Duration // between looks at the rows; default a sixth of the TTL
	Logger   *slog.Logger  // told what goes wrong; default none
}

// Assigner claims and hands over leases for one node.
type Assigner struct {
	table   *Table
	members *cluster.Members
	session *cluster.Session
	opts    Options

	mu    sync.Mutex
	held  map[peer.ID]*Lease
	avoid map[peer.ID]time.Time // what was handed over is not claimed again at once
}

// New returns an assigner for the member that session is of. The heartbeats are the business
// of [cluster.Session.Run], without which all leases end.
func New(store kv.Store, members *cluster.Members, session *cluster.Session, o *Options) *Assigner {
	a := &Assigner{table: NewTable(store), members: members, session: session, held: map[peer.ID]*Lease{}, avoid: map[peer.ID]time.Time{}}
	if o != nil {
		a.opts = *o
	}
	if a.opts.Replicas <= 0 {
		a.opts.Replicas = 1
	}
	if a.opts.Interval <= 0 {
		a.opts.Interval = members.Timing().TTL / 6
	}
	if a.opts.Logger == nil {
		a.opts.Logger = slog.New(slog.DiscardHandler)
	}
	return a
}

// Lease is a lease that this node holds.
type Lease struct {
	Publisher peer.ID
	Token     uint64 // larger than that of any lease of this publisher before

	cancel  context.CancelCauseFunc
	yielded context.Context
	yield   context.CancelFunc
	ended   bool // the work has returned; the row is to be released
}

// Yield returns a context that is done when the lease is wanted elsewhere: work returns then at
// the end of the segment it is at.
func (l *Lease) Yield() context.Context { return l.yielded }

// Held returns the leases that this node holds now, in the order of the publishers' ids.
func (a *Assigner) Held() []*Lease {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*Lease
	for _, l := range a.held {
		if !l.ended {
			all = append(all, l)
		}
	}
	slices.SortFunc(all, func(x, y *Lease) int {
		if x.Publisher < y.Publisher {
			return -1
		}
		return 1
	})
	return all
}

// Run claims leases until ctx ends, and calls work for each of them in a goroutine of its own.
// The context of work ends when the lease is lost, with the cause [ErrLost]: work must return
// before another third of the TTL has passed. When work returns, for whatever reason, the
// lease is free. Run returns when all work has, and has freed what it held.
func (a *Assigner) Run(ctx context.Context, work func(context.Context, *Lease)) error {
	inner, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() { a.watch(inner) })
	for ctx.Err() == nil {
		step, cancel := context.WithTimeout(ctx, a.members.Timing().TTL)
		err := a.step(step, func(l *Lease, lease context.Context) {
			all.Go(func() {
				work(lease, l)
				a.finish(ctx, l)
			})
		})
		cancel()
		if err != nil && ctx.Err() == nil {
			a.opts.Logger.Warn("leases of publishers", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(a.opts.Interval):
		}
	}
	a.lose(func(*Lease) bool { return true })
	stop()
	all.Wait()
	return context.Cause(ctx)
}

// watch ends all leases when the heartbeats of this node have stopped to be written.
func (a *Assigner) watch(ctx context.Context) {
	for {
		left := time.Until(a.session.Until())
		if left <= 0 {
			a.lose(func(*Lease) bool { return true })
			left = a.opts.Interval
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(left):
		}
	}
}

// lose ends the leases that which says.
func (a *Assigner) lose(which func(*Lease) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.held {
		if which(l) {
			l.cancel(ErrLost)
		}
	}
}

// finish frees a lease whose work has returned.
func (a *Assigner) finish(ctx context.Context, l *Lease) {
	a.mu.Lock()
	l.ended = true
	a.mu.Unlock()
	l.cancel(nil)
	l.yield()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.members.Timing().TTL/3)
	defer cancel()
	if err := a.free(ctx, l); err != nil {
		a.opts.Logger.Warn("free a lease", "publisher", l.Publisher, "error", err)
	}
}

// free gives the row of a lease back. If that fails, the next step tries again.
func (a *Assigner) free(ctx context.Context, l *Lease) error {
	id := a.session.ID()
	err := a.table.update(ctx, l.Publisher, true, func(p *Publisher) error {
		if h, ok := p.lease(id); !ok || h.Token != l.Token {
			return errNotOurs
		}
		p.release(id)
		return nil
	})
	if err != nil && !errors.Is(err, errNotOurs) {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.held, l.Publisher)
	a.avoid[l.Publisher] = time.Now().Add(2 * a.opts.Interval)
	return nil
}

var errNotOurs = errors.New("assign: the lease is somebody else's")

// step looks at all rows once.
func (a *Assigner) step(ctx context.Context, start func(*Lease, context.Context)) error {
	// The rows first: every holder that they name has joined before the members are read.
	var publishers []*Publisher
	for p, err := range a.table.All(ctx) {
		if err != nil {
			return err
		}
		publishers = append(publishers, p)
	}
	members, err := a.members.List(ctx)
	if err != nil {
		return err
	}
	s := survey(a.session.ID(), a.opts.Replicas, members, publishers)
	if err := a.keep(ctx, s); err != nil {
		return err
	}
	if !time.Now().Before(a.session.Until()) {
		return nil // others may believe that this node is dead
	}
	for _, p := range s.claims() {
		if a.idle(p.ID) {
			if err := a.claim(ctx, s, p, start); err != nil {
				return err
			}
		}
	}
	return nil
}

// idle reports whether p may be claimed: no work of an earlier lease runs, and it was not
// handed over just now.
func (a *Assigner) idle(p peer.ID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if time.Now().After(a.avoid[p]) {
		delete(a.avoid, p)
	}
	_, busy := a.held[p]
	_, avoid := a.avoid[p]
	return !busy && !avoid
}

// keep compares what this node holds with the rows.
func (a *Assigner) keep(ctx context.Context, s *situation) error {
	rows := map[peer.ID]*Publisher{}
	for _, p := range s.publishers {
		rows[p.ID] = p
	}
	var own []*Publisher
	yielding := map[*Publisher]bool{}
	var ended []*Lease
	a.mu.Lock()
	for id, l := range a.held {
		p := rows[id]
		if l.ended {
			ended = append(ended, l)
			continue
		}
		if p == nil {
			l.cancel(ErrLost)
			continue
		}
		if h, ok := p.lease(s.self); !ok || h.Token != l.Token {
			l.cancel(ErrLost)
			continue
		}
		own = append(own, p)
		yielding[p] = l.yielded.Err() != nil
	}
	for _, p := range own {
		if s.must(p) {
			a.held[p.ID].yield()
			yielding[p] = true
		}
	}
	for _, p := range s.spare(own, yielding) {
		a.held[p.ID].yield()
	}
	a.mu.Unlock()
	for _, l := range ended {
		if err := a.free(ctx, l); err != nil {
			return err
		}
	}
	return a.orphans(ctx, s)
}

// orphans frees the leases that rows say this node has but that it has not: from a life before, or
// from a claim of which it never heard that it succeeded.
func (a *Assigner) orphans(ctx context.Context, s *situation) error {
	for _, p := range s.publishers {
		h, ok := p.lease(s.self)
		a.mu.Lock()
		_, busy := a.held[p.ID]
		a.mu.Unlock()
		if !ok || busy {
			continue
		}
		err := a.table.update(ctx, p.ID, false, func(row *Publisher) error {
			if now, ok := row.lease(s.self); ok && now == h {
				row.release(s.self)
			}
			*p = *row
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		s.count[s.self]--
	}
	return nil
}

// claim takes a lease of p if it still can, in the place of the dead whose leases p has.
func (a *Assigner) claim(ctx context.Context, s *situation, p *Publisher, start func(*Lease, context.Context)) error {
	var token uint64
	err := a.table.update(ctx, p.ID, false, func(row *Publisher) error {
		row.Leases = slices.DeleteFunc(row.Leases, func(h Held) bool { return !s.alive[h.Holder] && slices.Contains(p.Leases, h) })
		if !s.may(row, s.self) || len(row.Leases) >= s.replicas {
			return errNotOurs
		}
		row.Token++
		token = row.Token
		row.Leases = append(row.Leases, Held{s.self, token})
		return nil
	})
	if errors.Is(err, errNotOurs) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("assign: claim: %w", err)
	}
	l := &Lease{Publisher: p.ID, Token: token}
	var lease context.Context
	lease, l.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	l.yielded, l.yield = context.WithCancel(lease)
	a.mu.Lock()
	a.held[p.ID] = l
	a.mu.Unlock()
	if !time.Now().Before(a.session.Until()) {
		l.cancel(ErrLost)
	}
	start(l, lease)
	return nil
}
