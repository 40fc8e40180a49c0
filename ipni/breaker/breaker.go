// Package breaker keeps callers from asking again and again a server that does not
// answer. A breaker opens after failures in a row, lets single probes pass after a
// pause that doubles, and closes again when a probe succeeds.
//
// It differs from the breakers of libraries in that a call may end without a verdict: whoever
// asks two replicas and needs one answer cancels the other call, which says nothing about
// its server, and must not hold the place of a probe for ever.
//
// # Errors
//
// A call that is not let through gets [ErrOpen].
//
// A Breaker is safe for concurrent use. It starts no goroutine.
package breaker

import (
	"errors"
	"sync"
	"time"
)

// ErrOpen is the answer of a breaker that is open.
var ErrOpen = errors.New("breaker: open")

// State is what a breaker does with calls.
type State string

// The states.
const (
	Closed   State = "closed"    // all pass
	Open     State = "open"      // none passes
	HalfOpen State = "half-open" // one passes, as a probe
)

// Verdict is how a call ended.
type Verdict int

// The verdicts.
const (
	None    Verdict = iota // nothing was learned of the server
	Success                // it answered, if only that it has nothing
	Failure                // no connection, no answer in time, an error of its own
)

// Options of [New]. The zero value of a field means its default.
type Options struct {
	Failures int           // in a row until it opens; default 5
	Pause    time.Duration // until the first probe; default 1 s
	MaxPause time.Duration // that doubling leads to; default 30 s
}

// Breaker watches one server.
type Breaker struct {
	opts Options

	mu      sync.Mutex
	failed  int           // in a row
	pause   time.Duration // of the next opening; not 0 while open
	until   time.Time     // when a probe may pass
	probing bool
	round   int // of openings: verdicts of calls from before are late
}

// New returns a closed breaker.
func New(o *Options) *Breaker {
	b := &Breaker{}
	if o != nil {
		b.opts = *o
	}
	if b.opts.Failures <= 0 {
		b.opts.Failures = 5
	}
	if b.opts.Pause <= 0 {
		b.opts.Pause = time.Second
	}
	b.opts.MaxPause = max(b.opts.MaxPause, b.opts.Pause)
	if o == nil || o.MaxPause <= 0 {
		b.opts.MaxPause = max(30*time.Second, b.opts.Pause)
	}
	return b
}

// Allow asks for permission to call. Unless it returns [ErrOpen], done must be
// called once when the call has ended.
func (b *Breaker) Allow() (done func(Verdict), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	probe := b.pause > 0
	if probe && (b.probing || time.Now().Before(b.until)) {
		return nil, ErrOpen
	}
	b.probing = probe
	round := b.round
	return func(v Verdict) { b.end(v, probe, round) }, nil
}

func (b *Breaker) end(v Verdict, probe bool, round int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if round != b.round {
		return
	}
	if probe {
		b.probing = false
	}
	switch v {
	case Success:
		b.failed = 0
		if probe {
			b.pause = 0
			b.round++
		}
	case Failure:
		b.failed++
		if probe || b.failed >= b.opts.Failures {
			b.open()
		}
	}
}

// open starts a pause; b.mu is held.
func (b *Breaker) open() {
	if b.pause == 0 {
		b.pause = b.opts.Pause
	} else {
		b.pause = min(2*b.pause, b.opts.MaxPause)
	}
	b.until = time.Now().Add(b.pause)
	b.failed = 0
	b.probing = false
	b.round++
}

// State returns the state.
func (b *Breaker) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.pause == 0:
		return Closed
	case b.probing || !time.Now().Before(b.until):
		return HalfOpen
	default:
		return Open
	}
}
