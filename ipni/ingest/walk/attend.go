package walk

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

// begin begins a turn, which cancel ends.
func (a *Attendance) begin(cancel context.CancelCauseFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits, a.longest, a.aside, a.cancel = 0, 0, false, cancel
}

// wait begins to wait for the publisher, until what it returns is called.
func (a *Attendance) wait() (done func()) {
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

func (a *Attendance) isAside() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.aside
}

// waited returns how long the longest wait was.
func (a *Attendance) waited() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.longest
}
