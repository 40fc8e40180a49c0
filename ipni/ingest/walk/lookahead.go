package walk

import (
	"context"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ingest/ahead"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// lookAhead begins to fetch what is below the segment of g, if there is memory for it.
func (tn *turn) lookAhead(g *state.Gap) {
	w, v := tn.w, tn.v
	if !g.Next.Defined() || g.Next == g.Stop || v.slow || g.Resync || g.Broken != "" {
		return
	}
	if v.ahead != nil && v.ahead.First() == g.Next {
		return
	}
	v.dropAhead()
	chain, err := tn.chain(tn.run)
	depth := g.Depth + g.Size
	if err != nil || depth >= g.Limit || !w.memory.Take(int64(w.o.SegmentBytes)) {
		return
	}
	stop, anew := g.Stop, g.Anew
	known := func(ctx context.Context, c cid.Cid) bool {
		row, err := w.state.AdOf(ctx, tn.tag, c)
		return err != nil || c == stop || row.Done() && !anew
	}
	ads := min(w.o.SegmentAds, firstSegment<<min(g.Segments+1, 20), int(min(g.Limit-depth, state.MaxDepth)))
	fetch := func(ctx context.Context, c cid.Cid) ([]byte, error) {
		return w.fetch(ctx, chain, c, ipni.Advertisement)
	}
	v.ahead = ahead.Start(tn.run, g.Next, ahead.Limits{Ads: ads, Bytes: w.o.SegmentBytes}, fetch, known)
	v.give = func() { w.memory.Give(int64(w.o.SegmentBytes)) }
}

// dropAhead forgets what was fetched ahead, without waiting for what is being fetched.
func (v *Visit) dropAhead() {
	if v.ahead != nil {
		v.ahead.Stop()
		v.give()
		v.ahead = nil
	}
}
