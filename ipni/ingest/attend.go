package ingest

import (
	"context"
	"time"
)

// Workers are few and publishers may be slow, so a worker does not wait for one for long while it is
// another's turn: it sets the turn aside, which goes on without a worker until what it waits for has come, and then ends.
// A publisher that was slow in its last turn, or never answered, is waited for a sixteenth of the
// time. So many slow ones take little of the time of the workers. Where too many turns are set
// aside already, one more is given up: those that wait longer than it come to an end.
const slowPatience = 16

// attend takes the turn of a task, or sets it aside.
func (in *Ingester) attend(ctx context.Context, t *task) {
	in.mu.Lock()
	turn, patience := t.served, in.o.Patience
	if !t.known || t.visit.Slow() {
		patience /= slowPatience
	}
	in.mu.Unlock()
	done := make(chan struct{})
	in.running.Go(func() {
		defer close(done)
		in.serve(ctx, t)
	})
	look := time.NewTimer(patience)
	defer look.Stop()
	for {
		select {
		case <-done:
			return
		case <-look.C:
			left := patience - t.visit.Waiting()
			if left <= 0 && in.othersWait() {
				in.setAside(t, turn)
				return
			}
			if left <= 0 {
				left = in.o.Patience / 4
			}
			look.Reset(left)
		}
	}
}

// ownsEvery is how often it is looked whether a publisher that is worked on is still this node's.
const ownsEvery = 200 * time.Millisecond

// watch ends the turn of t when this node may not work on its publisher any longer, until stop is called.
func (in *Ingester) watch(t *task) (stop func()) {
	ended := make(chan struct{})
	in.running.Go(func() {
		tick := time.NewTicker(ownsEvery)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
			}
			if !in.o.Owns(t.id) {
				t.visit.Lose()
				return
			}
		}
	})
	return func() { close(ended) }
}

// othersWait reports whether there is a task that a worker could take.
func (in *Ingester) othersWait() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	now := time.Now()
	if in.paused.until.After(now) {
		return false
	}
	for _, t := range in.tasks {
		if !t.busy && !t.due.After(now) && in.o.Owns(t.id) {
			return true
		}
	}
	return false
}

// setAside lets a turn go on without a worker, unless it has ended.
func (in *Ingester) setAside(t *task, turn uint64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !t.busy || t.served != turn {
		return
	}
	if in.aside >= in.o.Aside {
		t.visit.GiveUp()
		return
	}
	t.aside = true
	t.visit.SetAside()
	in.aside++
}

// back says that a turn has ended, if it was set aside.
func (in *Ingester) back(t *task) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if t.aside {
		t.aside = false
		in.aside--
	}
}
