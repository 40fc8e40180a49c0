package walk

import (
	"context"
	"errors"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// workGap works on the current segment of g, or its next one, until it ends or it is
// another's turn.
func (tn *turn) workGap(ctx context.Context, g *state.Gap) error {
	v := tn.v
	var s *segment
	var err error
	if g.Size == 0 {
		s, err = tn.fetchSegment(ctx, g)
	} else {
		s, err = tn.loadSegment(ctx, g)
	}
	v.segment = nil
	if err != nil || s == nil || len(s.items) == 0 {
		return err
	}
	tn.lookAhead(g)
	ahead := prefetch{tn: tn, g: g, s: s, streams: map[int]*entries.Stream{}}
	defer ahead.close()
	if s.bytes <= keepBytes {
		defer func() {
			if g.Size > 0 {
				v.segment = s
			}
		}()
	}
	for n := 0; g.Size > 0 && ctx.Err() == nil; n++ {
		if n > 0 && tn.yields() { // not before there is progress
			break
		}
		if err := tn.process(ctx, g, s, &ahead); errors.Is(err, apply.ErrYield) {
			break
		} else if err != nil {
			return err
		}
	}
	return nil
}

// process works on the next advertisement of a segment.
func (tn *turn) process(ctx context.Context, g *state.Gap, s *segment, ahead *prefetch) error {
	began, i := time.Now(), int(g.Done)
	it := &s.items[i]
	ahead.begin(ctx, i)
	begun, err := tn.begun(ctx, it.CID, g.Anew)
	if err != nil {
		return err
	}
	src := tn.source(tn.floor(g, it))
	src.Anew, src.Progress, src.Stream = g.Anew, &begun.Progress, ahead.streams[i]
	res, err := tn.w.applier.Apply(ctx, &it.Item, src)
	ahead.end(i)
	if err != nil {
		if err := tn.keep(ctx, begun); err != nil {
			return err
		}
		if errors.Is(err, apply.ErrYield) {
			return err
		}
		if res, err = tn.failing(ctx, g, res, err); err != nil {
			return err
		}
	}
	ops := begun.end(tn.v.ID, res.Missing)
	if res.Missing {
		ops = append(ops, tn.addRetry(it, res))
	}
	g.Tries, g.Cause, g.Since, g.RetryAt = 0, "", time.Time{}, time.Time{}
	g.Done++
	if g.Done == g.Size {
		ops = append(ops, tn.advance(g)...)
	} else {
		ops = append(ops, state.PutGap(tn.v.ID, g))
	}
	tn.pay(1, 0)
	if err := tn.commit(ctx, it, src, res, ops); err != nil {
		return err
	}
	tn.event(it, res, began)
	return nil
}

// floor returns the order from which on everything older than it is processed.
func (tn *turn) floor(g *state.Gap, it *item) uint64 {
	if g.Resync {
		return state.Floor(tn.gaps, it.Order, 0, 0)
	}
	below := uint64(0)
	if g.Next.Defined() {
		below = state.Order(g.Seq, g.Depth+g.Size-1)
	}
	return state.Floor(tn.gaps, it.Order, g.Seq, below)
}

// failing judges a failure to read entries that may pass. If the publisher answers
// otherwise, and it is always these entries, they must not hold up the chain: they are
// asked for again later. res is how far they were put.
func (tn *turn) failing(ctx context.Context, g *state.Gap, res apply.Result, err error) (apply.Result, error) {
	if apply.IsSerious(err) || apply.IsDamage(err) || ctx.Err() != nil {
		return apply.Result{}, err
	}
	answers := tn.answers(ctx)
	if answers {
		tn.delay(g, err.Error(), time.Second)
	}
	if !answers || g.Tries < uint64(tn.w.o.EntryTries) {
		return apply.Result{}, tn.postpone(ctx, g, answers, err)
	}
	return apply.Result{Status: state.Pending, Reason: g.Cause, Epoch: res.Epoch, Count: res.Count, Missing: true, Heeded: true}, nil
}

// postponed is a failure of a gap whose publisher answers: others of its gaps do not wait for it.
type postponed struct{ error }

func (p postponed) Unwrap() error { return p.error }

// postpone records that something of g failed, after which it waits if the publisher answers, and returns the
// cause: the publisher must not be asked for the same all the time, nor what else it has wait for that.
func (tn *turn) postpone(ctx context.Context, g *state.Gap, answers bool, cause error) error {
	if ctx.Err() != nil {
		return cause
	}
	g.Cause = state.Cut(cause.Error())
	ops := []kv.Op{state.PutGap(tn.v.ID, g)}
	if answers {
		tn.row.Error, tn.row.FailedAt = g.Cause, time.Now()
		ops, cause = append(ops, state.PutPublisher(&tn.row)), postponed{cause}
	}
	if err := tn.w.state.Batch(ctx, ops); err != nil {
		return apply.Grave(err)
	}
	return cause
}

// answers reports whether the publisher tells its head.
func (tn *turn) answers(ctx context.Context) bool {
	chain, err := tn.chain(ctx)
	if err != nil {
		return false
	}
	_, err = tn.askChain(ctx, chain)
	return err == nil
}

func (tn *turn) event(it *item, res apply.Result, began time.Time) {
	e := settings.AdEvent{
		Publisher: tn.v.ID, CID: it.CID, Status: res.Status, Reason: res.Reason,
		Multihashes: res.Count, Took: time.Since(began), Lag: tn.lag(),
	}
	if it.Ad != nil {
		e.Provider = it.Ad.Provider
	}
	tn.w.o.Trace.TellAd(e)
}

// prefetch is the entries of the next advertisements of a segment, which are fetched
// while those before them are processed, as far as there is memory for it.
type prefetch struct {
	tn      *turn
	g       *state.Gap
	s       *segment
	streams map[int]*entries.Stream
	next    int // the first that was not looked at
}

// begin fetches ahead from i on. The one at hand, which holds up everything, needs no
// share of the memory and is begun when it is applied.
func (p *prefetch) begin(ctx context.Context, i int) {
	w := p.tn.w
	if p.tn.v.slow || p.tn.v.IsAside() { // the memory is for those who make use of it
		return
	}
	p.next = max(p.next, i+1)
	for ; p.next <= i+w.o.Prefetch && p.next < len(p.s.items); p.next++ {
		it := &p.s.items[p.next]
		if it.Ad == nil || it.Removed || it.Ad.Remove || !it.Ad.Entries.Defined() || w.frozen() || !p.tn.allowed(it.Ad) {
			continue
		}
		if !w.memory.Take(entries.MaxMemory) {
			return
		}
		s, err := p.tn.stream(ctx, []cid.Cid{it.Ad.Entries}, entries.Count{})
		if err != nil {
			w.memory.Give(entries.MaxMemory)
			return
		}
		p.streams[p.next] = s
	}
}

// end gives back what was held for i.
func (p *prefetch) end(i int) {
	if s, ok := p.streams[i]; ok {
		s.Close()
		delete(p.streams, i)
		p.tn.w.memory.Give(entries.MaxMemory)
	}
}

func (p *prefetch) close() {
	for i := range p.streams {
		p.end(i)
	}
}
