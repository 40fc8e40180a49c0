// Package attendance is what a turn of a publisher and the worker that attends it tell each other.
//
// # Errors
//
// A turn that was given up ends with [ErrSlow].
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
