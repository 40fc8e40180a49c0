package walk

import (
	"context"
	"sync"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// lookahead is the advertisements below a segment, which are fetched while that is processed.
// They go from turn to turn.
type lookahead struct {
	first cid.Cid
	stop  context.CancelFunc
	done  chan struct{}
	give  func() // the memory back

	mu     sync.Mutex
	blocks map[cid.Cid]*early
}

// early is a block that is, or is being, fetched before it is asked for.
type early struct {
	ready chan struct{}
	block []byte
	err   error
}

// lookAhead begins to fetch what is below the segment of g, if there is memory for it.
func (tn *turn) lookAhead(g *state.Gap) {
	w, v := tn.w, tn.v
	if !g.Next.Defined() || g.Next == g.Stop || v.slow || g.Resync || g.Broken != "" {
		return
	}
	if v.ahead != nil && v.ahead.first == g.Next {
		return
	}
	v.dropAhead()
	chain, err := tn.chain(tn.run)
	depth := g.Depth + g.Size
	if err != nil || depth >= g.Limit || !w.memory.Take(int64(w.o.SegmentBytes)) {
		return
	}
	ctx, stop := context.WithCancel(tn.run)
	l := &lookahead{
		first: g.Next, stop: stop, done: make(chan struct{}), blocks: map[cid.Cid]*early{},
		give: func() { w.memory.Give(int64(w.o.SegmentBytes)) },
	}
	v.ahead = l
	l.register(g.Next)
	known := func(c cid.Cid) bool {
		row, err := w.state.Ad(ctx, c)
		return err != nil || c == g.Stop || row.Done() && row.Tag == tn.tag && !g.Anew
	}
	ads := min(w.o.SegmentAds, firstSegment<<min(g.Segments+1, 20), int(min(g.Limit-depth, state.MaxDepth)))
	fetch := func(c cid.Cid) ([]byte, error) { return w.fetch(ctx, chain, c, ipni.Advertisement) }
	go l.run(ads, w.o.SegmentBytes, fetch, known)
}

// run fetches up to a number of advertisements, or of bytes, down to the first that is known.
func (l *lookahead) run(ads, size int, fetch func(cid.Cid) ([]byte, error), known func(cid.Cid) bool) {
	defer close(l.done)
	next := l.first
	for next.Defined() {
		l.mu.Lock()
		e := l.blocks[next]
		l.mu.Unlock()
		e.block, e.err = fetch(next)
		ads--
		size -= len(e.block)
		at := next
		next = cid.Undef
		if e.err == nil && ads > 0 && size > 0 {
			if c, err := apply.Previous(at, e.block); err == nil && c.Defined() && !known(c) {
				next = c
				l.register(c) // before who waits for this one asks for that
			}
		}
		close(e.ready)
	}
}

func (l *lookahead) register(c cid.Cid) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.blocks[c] = &early{ready: make(chan struct{})}
}

// take returns a block that was fetched before it is asked for, or is being so. That it fails is no
// matter: it is fetched again.
func (l *lookahead) take(ctx context.Context, c cid.Cid) ([]byte, bool) {
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

// dropAhead forgets what was fetched ahead, without waiting for what is being fetched.
func (v *Visit) dropAhead() {
	if v.ahead != nil {
		v.ahead.stop()
		v.ahead.give()
		v.ahead = nil
	}
}
