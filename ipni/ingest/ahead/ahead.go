// Package ahead fetches advertisements of a chain before they are asked for.
//
// # Errors
//
// What cannot be fetched is as if it had not been tried.
//
// A Lookahead is safe for concurrent use. It starts a goroutine, which Stop ends.
package ahead

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni/ingest/apply"
)

// Limits bound what is fetched ahead.
type Limits struct {
	Ads   int // advertisements
	Bytes int // of them, and one advertisement more
}

// Lookahead is advertisements that are, or are being, fetched.
type Lookahead struct {
	first cid.Cid
	stop  context.CancelFunc
	done  chan struct{}

	mu     sync.Mutex
	blocks map[cid.Cid]*early
}

// early is a block that is, or is being, fetched before it is asked for.
type early struct {
	ready chan struct{}
	block []byte
	err   error
}

// Start begins to fetch first and what is before it, down to what is known.
func Start(ctx context.Context, first cid.Cid, limits Limits, fetch func(context.Context, cid.Cid) ([]byte, error), known func(context.Context, cid.Cid) bool) *Lookahead {
	ctx, stop := context.WithCancel(ctx)
	l := &Lookahead{first: first, stop: stop, done: make(chan struct{}), blocks: map[cid.Cid]*early{}}
	l.register(first)
	go l.run(ctx, limits, fetch, known)
	return l
}

// First returns the newest of the advertisements.
func (l *Lookahead) First() cid.Cid { return l.first }

// Stop ends the fetches.
func (l *Lookahead) Stop() { l.stop() }

// Wait waits until the fetches have ended.
func (l *Lookahead) Wait() { <-l.done }

// run fetches up to a number of advertisements, or of bytes, down to the first that is known.
func (l *Lookahead) run(ctx context.Context, limits Limits, fetch func(context.Context, cid.Cid) ([]byte, error), known func(context.Context, cid.Cid) bool) {
	defer close(l.done)
	next := l.first
	for next.Defined() {
		l.mu.Lock()
		e := l.blocks[next]
		l.mu.Unlock()
		e.block, e.err = fetch(ctx, next)
		limits.Ads--
		limits.Bytes -= len(e.block)
		at := next
		next = cid.Undef
		if e.err == nil && limits.Ads > 0 && limits.Bytes > 0 {
			if c, err := apply.Previous(at, e.block); err == nil && c.Defined() && !known(ctx, c) {
				next = c
				l.register(c) // before who waits for this one asks for that
			}
		}
		close(e.ready)
	}
}

func (l *Lookahead) register(c cid.Cid) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks[c] = &early{ready: make(chan struct{})}
}

// Take returns a block that was fetched before it is asked for, or is being so. That it fails is no
// matter: it is fetched again.
func (l *Lookahead) Take(ctx context.Context, c cid.Cid) ([]byte, bool) {
	l.mu.Lock()
	e, ok := l.blocks[c]
	l.mu.Unlock()
	if !ok {
		return nil, false
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, false
	}
	l.mu.Lock()
	delete(l.blocks, c)
	l.mu.Unlock()
	return e.block, e.err == nil
}
