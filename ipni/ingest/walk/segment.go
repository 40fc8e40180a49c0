package walk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest/apply"
	"github.com/hashstream/hashstream/ipni/ingest/settings"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

const (
	firstSegment = 64      // advertisements of the first segment of a gap, doubled for each
	refetch      = 4       // advertisements of a segment that are fetched at once after a restart
	keepBytes    = 1 << 20 // of a segment that are kept from turn to turn
)

// item is an advertisement of a segment.
type item struct {
	apply.Item
	size int // bytes
	prev cid.Cid
}

// segment is what is fetched of the current segment of a gap, oldest first.
type segment struct {
	seq   uint64
	items []item
	bytes int
}

// is reports whether s is the segment of a gap that consists of list: another node may have gone on
// meanwhile.
func (s *segment) is(seq uint64, list []cid.Cid) bool {
	return s.seq == seq && slices.EqualFunc(s.items, list, func(it item, c cid.Cid) bool { return it.CID == c })
}

// fetchAd fetches and decodes an advertisement. It is a good item, or one that is bad.
// Another error says that it could not be had.
func (tn *turn) fetchAd(ctx context.Context, c cid.Cid, row state.Ad) (item, error) {
	block, err := tn.block(ctx, c, ipni.Advertisement)
	if err != nil {
		return item{}, err
	}
	it := item{Item: apply.Item{CID: c, Row: row}, size: len(block)}
	if it.Ad, it.Bad = ad.Decode(c, block); it.Bad != nil {
		it.Ad = nil
		it.prev, err = apply.Previous(c, block)
		if err != nil {
			return it, brokenChain{err}
		}
		return it, nil
	}
	it.prev = it.Ad.Previous
	return it, nil
}

// brokenChain says that an advertisement does not even tell which one is before it.
type brokenChain struct{ error }

func (b brokenChain) Unwrap() error { return b.error }

// fetchSegment fetches the next segment of g from its newest advertisement on, and
// records what it consists of. It may be empty: then g changed, or is done.
func (tn *turn) fetchSegment(ctx context.Context, g *state.Gap) (*segment, error) {
	w, began := tn.w, time.Now()
	size := min(w.o.SegmentAds, firstSegment<<min(g.Segments, 20))
	s := &segment{seq: g.Seq}
	next, stopped := g.From, error(nil)
	for walked := 0; next.Defined() && len(s.items) < size && walked < 4*size && s.bytes < w.o.SegmentBytes; walked++ {
		if walked > 0 && time.Now().After(tn.end) { // who is slow gets smaller segments
			break
		}
		if next == g.Stop {
			next = cid.Undef
			break
		}
		depth := g.Depth + uint64(len(s.items))
		if depth >= g.Limit {
			if g.Resync {
				next = cid.Undef
			} else {
				stopped = brokenChain{fmt.Errorf("more than %d advertisements below a head", g.Limit)}
			}
			break
		}
		row, err := tn.adRow(ctx, g, next)
		if err != nil {
			return nil, err
		}
		own := row.Done()
		if own && !g.Resync && row.Order>>32 != g.Seq {
			next = cid.Undef // what is older is processed, or in another gap
			break
		}
		if own && !g.Resync && len(s.items) > 0 {
			break // what is left of a segment that could not be read again
		}
		it, err := tn.fetchAd(ctx, next, row)
		if err != nil {
			stopped = err
			if it.Bad != nil && !g.Resync {
				if err := tn.skipBroken(ctx, g, &it, depth); err != nil {
					return nil, err
				}
			}
			break
		}
		next = it.prev
		switch {
		case g.Resync && !own: // it is in a gap, and will be processed then
		case own && !g.Resync:
			g.Depth++
		default:
			it.Order = state.Order(g.Seq, depth)
			if g.Resync {
				it.Order = row.Order
			}
			s.items = append(s.items, it)
			s.bytes += it.size
		}
	}
	w.o.Trace.TellSegment(tn.v.ID, len(s.items), time.Since(began), stopped)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return s, tn.beginSegment(ctx, g, s, next, stopped)
}

// adRow returns the row of an advertisement. If all of g is read anew, what was known before does not
// count, except if it is to end there.
func (tn *turn) adRow(ctx context.Context, g *state.Gap, c cid.Cid) (state.Ad, error) {
	row, err := tn.w.state.AdOf(ctx, tn.tag, c)
	if g.Anew && (errors.Is(err, digest.ErrMismatch) || err == nil && row.Order > 1 && row.Order>>32 < g.Seq) {
		return state.Ad{}, nil
	}
	return row, apply.Grave(err)
}

// skipBroken records an advertisement that was read and leads nowhere.
func (tn *turn) skipBroken(ctx context.Context, g *state.Gap, it *item, depth uint64) error {
	row := state.Ad{Status: state.Skipped, Tag: tn.tag, Order: state.Order(g.Seq, depth), At: time.Now(), Reason: it.Bad.Error()}
	return apply.Grave(tn.w.state.Batch(ctx, []kv.Op{state.PutAd(it.CID, row)}))
}

// beginSegment records a segment that was fetched down to, not including, next.
func (tn *turn) beginSegment(ctx context.Context, g *state.Gap, s *segment, next cid.Cid, stopped error) error {
	slices.Reverse(s.items)
	g.Next, g.Broken, g.Size, g.Done = next, "", uint64(len(s.items)), 0
	var broken brokenChain
	if g.Resync && errors.As(stopped, &broken) {
		g.Next, stopped = cid.Undef, nil
	}
	if stopped != nil {
		g.Broken = state.Cut(stopped.Error())
		g.Parked = errors.As(stopped, &broken) && len(s.items) == 0
	}
	if len(s.items) == 0 {
		return tn.endSegment(ctx, g, stopped)
	}
	list := make([]cid.Cid, len(s.items))
	ops := make([]kv.Op, 0, len(s.items)+2)
	for i, it := range s.items {
		list[i] = it.CID
		row := state.Ad{Status: state.Pending, Tag: tn.tag, Order: it.Order, At: time.Now()}
		if g.Resync {
			row = it.Row
			row.Status = state.Resyncing
		}
		ops = append(ops, state.PutAd(it.CID, row))
	}
	s.cover(tn.allowed)
	ops = append(ops, state.PutSegment(tn.v.ID, g.Seq, list), state.PutGap(tn.v.ID, g))
	return apply.Grave(tn.w.state.Batch(ctx, ops))
}

// endSegment records that nothing is left of the segment of g, and returns the cause why
// the gap cannot be worked on at once, if that is for the publisher to answer for.
func (tn *turn) endSegment(ctx context.Context, g *state.Gap, stopped error) error {
	ops := tn.advance(g)
	blame := g.From.Defined() && stopped != nil && !g.Parked && !errors.Is(stopped, fs.ErrNotExist)
	if blame { // soon, but after other gaps
		g.RetryAt = time.Now().Add(settings.Backoff(g.Tries, 2*time.Second, tn.w.o.PollRetry))
	}
	if g.From.Defined() {
		ops = append(ops, state.PutGap(tn.v.ID, g))
	}
	if err := tn.w.state.Batch(ctx, ops); err != nil {
		return apply.Grave(err)
	}
	if !blame {
		return nil // the others may be worked on
	}
	return tn.postpone(ctx, g, tn.answers(ctx), stopped)
}

// advance moves g to what is below its segment, and returns the writes for that.
func (tn *turn) advance(g *state.Gap) []kv.Op {
	progress := g.Size > 0 || g.Next != g.From
	if progress {
		g.Segments++
		g.Tries, g.Cause, g.Since = 0, "", time.Time{}
	}
	g.Depth += g.Size
	g.From, g.Next, g.Size, g.Done = g.Next, cid.Undef, 0, 0
	if g.Broken != "" {
		tn.delay(g, g.Broken, time.Minute)
		g.Broken = ""
	}
	if g.From.Defined() {
		return []kv.Op{state.PutGap(tn.v.ID, g), state.DropSegment(tn.v.ID, g.Seq)}
	}
	tn.gaps = slices.DeleteFunc(tn.gaps, func(other *state.Gap) bool { return other == g })
	return state.DropGap(tn.v.ID, g.Seq)
}

// delay notes a failure of g, and when it is tried again.
func (tn *turn) delay(g *state.Gap, cause string, first time.Duration) {
	now := time.Now()
	if g.Tries++; g.Tries == 1 {
		g.Since = now
	}
	g.Cause = state.Cut(cause)
	g.RetryAt = now.Add(settings.Backoff(g.Tries, first, tn.w.o.PollRetry))
}

// loadSegment returns the current segment of g: what was kept, or fetched anew except for
// what is processed.
func (tn *turn) loadSegment(ctx context.Context, g *state.Gap) (*segment, error) {
	list, err := tn.w.state.Segment(ctx, tn.v.ID, g.Seq)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, digest.ErrMismatch) {
		return nil, apply.Grave(err)
	}
	if err != nil || uint64(len(list)) != g.Size { // fetch it anew; what is processed is passed over
		g.Size, g.Done, g.Next = 0, 0, cid.Undef
		return nil, apply.Grave(tn.w.state.Batch(ctx, []kv.Op{state.PutGap(tn.v.ID, g)}))
	}
	if s := tn.v.segment; s != nil && s.is(g.Seq, list) {
		return s, nil
	}
	if _, err := tn.chain(ctx); err != nil {
		return nil, err
	}
	s := &segment{seq: g.Seq, items: make([]item, len(list))}
	for i, c := range list {
		s.items[i].CID = c
	}
	failed := make([]error, len(list))
	var work errgroup.Group
	work.SetLimit(refetch)
	for i := int(g.Done); i < len(list); i++ {
		work.Go(func() error {
			row, err := tn.adRow(ctx, g, list[i])
			if err != nil {
				return err
			}
			it, err := tn.fetchAd(ctx, list[i], row)
			it.Order = state.Order(g.Seq, g.Depth+uint64(len(list)-1-i))
			if g.Resync || row.Order>>32 == g.Seq { // what it was given it keeps
				it.Order = row.Order
			}
			s.items[i], failed[i] = it, err
			return nil
		})
	}
	if err := work.Wait(); err != nil {
		return nil, err
	}
	for i := len(list) - 1; i >= int(g.Done); i-- {
		if err := failed[i]; err != nil {
			return nil, tn.shrink(ctx, g, list, i, err)
		}
		s.bytes += s.items[i].size
	}
	s.cover(tn.allowed)
	return s, nil
}

// shrink leaves only what is newer than the advertisement i in the segment of g, as that
// one cannot be read again.
func (tn *turn) shrink(ctx context.Context, g *state.Gap, list []cid.Cid, i int, cause error) error {
	if !errors.Is(cause, fs.ErrNotExist) {
		answers := tn.answers(ctx)
		if answers {
			tn.delay(g, cause.Error(), 2*time.Second)
		}
		return tn.postpone(ctx, g, answers, cause)
	}
	g.Next, g.Broken = list[i], state.Cut(cause.Error())
	g.Size, g.Done = uint64(len(list)-1-i), 0
	if g.Size == 0 {
		return tn.endSegment(ctx, g, cause)
	}
	return apply.Grave(tn.w.state.Batch(ctx, []kv.Op{state.PutSegment(tn.v.ID, g.Seq, list[i+1:]), state.PutGap(tn.v.ID, g)}))
}

// cover marks the additions whose context is removed later in the segment: what they add
// would be removed again at once.
func (s *segment) cover(allowed func(*ad.Ad) bool) {
	removed := map[ipni.Context]bool{}
	for i := len(s.items) - 1; i >= 0; i-- {
		it := &s.items[i]
		if it.Ad == nil {
			continue
		}
		it.Removed = removed[it.Context()]
		if it.Ad.Remove && allowed(it.Ad) {
			removed[it.Context()] = true
		}
	}
}
