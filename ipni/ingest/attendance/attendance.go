// Package attendance is what a turn of a publisher and the worker that attends it tell each other.
//
// # Errors
//
// A turn that was given up ends with [ErrSlow], one that this node may not go on with, with [ErrLost].
//
// An Attendance is safe for concurrent use.
package attendance

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrSlow is why a turn was given up that waited for its publisher, when too many did.
var ErrSlow = errors.New("the publisher is slow, and many others wait")

// ErrLost is why a turn ended whose publisher another node may work on now.
var ErrLost = errors.New("the publisher is another node's to work on")

// Attendance is what a turn tells to whoever attends it, which is how long it has been waiting for the
// publisher, and what it is told. It is safe for concurrent use.
type Attendance struct {
	mu      sync.Mutex
	waits   int       // that are going on
	since   time.Time // of the last of what was waited for, or when the first of waits began
	longest time.Duration
	aside   bool
	cancel  context.CancelCauseFunc
}

// Begin begins a turn, which cancel ends.
func (a *Attendance) Begin(cancel context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits, a.longest, a.aside, a.cancel = 0, 0, false, cancel
}

// Wait begins to wait for the publisher, until what it returns is called.
func (a *Attendance) Wait() (done func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waits++; a.waits == 1 {
		a.since = time.Now()
	}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.waits--
		a.longest = max(a.longest, time.Since(a.since))
		a.since = time.Now()
	}
}

// Waiting returns for how long the turn has been waiting for the publisher, 0 if it is not.
func (a *Attendance) Waiting() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waits == 0 {
		return 0
	}
	return time.Since(a.since)
}

// SetAside tells the turn that nobody attends it any longer: it ends as soon as what it waits for has
// come.
func (a *Attendance) SetAside() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.aside = true
}

// GiveUp ends the turn now, with [ErrSlow].
func (a *Attendance) GiveUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cancel(ErrSlow)
}

// Lose ends the turn now, if there is one, with [ErrLost].
func (a *Attendance) Lose() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cancel != nil {
		a.cancel(ErrLost)
	}
}

// Lost reports whether ctx is that of a turn that ended with [ErrLost].
func Lost(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrLost) }

// IsAside reports whether nobody attends the turn any longer.
func (a *Attendance) IsAside() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.aside
}

// Waited returns how long the longest wait was.
func (a *Attendance) Waited() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.longest
}
