package streamer

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/index"
)

// planSelection is the entries of a plan that answer a request: some ancestors,
// then the entries from (inclusive) to (exclusive).
type planSelection struct {
	plan      index.Plan
	root      cid.Cid // the plan's root as it is asked for
	renamed   int64   // bytes that root adds to the section of the plan's root
	ancestors []int64
	from, to  int64
	dups      bool
}

// placed is an entry with the place of its bytes.
type placed struct {
	index.Entry
	location index.Location
}

// whole selects every entry of p. If sel asks for p's root under the same codec
// in another version of CID, the root's entry is renamed to that.
func whole(ctx context.Context, p index.Plan, sel block.Selection) (planSelection, error) {
	e, _, err := p.Entry(ctx, p.First())
	if err != nil {
		return planSelection{}, err
	}
	ps := planSelection{plan: p, from: p.First(), to: p.End(), dups: sel.Dups}
	if ps.root, err = e.CID(); err == nil && ps.root.Type() == sel.Root.Type() && !ps.root.Equals(sel.Root) {
		ps.root, ps.renamed = sel.Root, e.As(sel.Root).Section()-e.Section()
	}
	return ps, err
}

// slice narrows a selection to the entries that carry the bytes r of the file and
// those above them: the entity-bytes of the trustless gateway.
func (s planSelection) slice(ctx context.Context, r block.ByteRange) (planSelection, error) {
	p := s.plan
	from, to, err := r.Resolve(p.FileBytes())
	if err != nil {
		return planSelection{}, err
	}
	if from == to {
		s.to = s.from + 1 // an empty file: its root alone
		return s, nil
	}
	if s.from, err = p.Seek(ctx, p.Position()+from); err != nil {
		return planSelection{}, err
	}
	last, err := p.Seek(ctx, p.Position()+to-1)
	if err != nil {
		return planSelection{}, err
	}
	s.to = last + 1
	s.ancestors, err = ancestors(ctx, p, s.from)
	return s, err
}

// ancestors returns the entries of p above entry, the root of p first.
func ancestors(ctx context.Context, p index.Plan, entry int64) ([]int64, error) {
	e, seg, err := p.Entry(ctx, entry)
	if err != nil {
		return nil, err
	}
	above := append([]int64(nil), seg.Ancestors...)
	for i := range seg.Entries[:entry-seg.First()] {
		depth := seg.Entries[i].Depth
		if depth > len(above) {
			return nil, fmt.Errorf("streamer: plan of %s: %w: depth %d below %d ancestors", p.Root, index.ErrCorrupt, depth, len(above))
		}
		above = append(above[:depth], seg.First()+int64(i))
	}
	if e.Depth > len(above) {
		return nil, fmt.Errorf("streamer: plan of %s: %w: depth %d below %d ancestors", p.Root, index.ErrCorrupt, e.Depth, len(above))
	}
	above = above[:e.Depth]
	for len(above) > 0 && above[0] < p.First() {
		above = above[1:]
	}
	return above, nil
}

// entries yields the selected entries with their places, in order. Inline
// blocks are left out, and repeated ones unless dups are wanted.
func (s planSelection) entries(ctx context.Context) iter.Seq2[placed, error] {
	return func(yield func(placed, error) bool) {
		r := resolver{ctx: ctx, sel: s}
		if s.loose() && s.to-s.from <= maxCounted {
			r.seen = map[string]bool{}
		}
		for _, number := range s.ancestors {
			if !r.emit(number, yield) {
				return
			}
		}
		for number := s.from; number < s.to; number++ {
			if !r.emit(number, yield) {
				return
			}
		}
	}
}

// resolver places entries one after the other.
type resolver struct {
	ctx      context.Context
	sel      planSelection
	seg      *index.Segment
	borrowed map[int64]bool  // first occurrences outside of the selection that were sent
	seen     map[string]bool // multihashes that were sent, if entries do not tell
	source   [16]byte
	location index.Location
}

func (r *resolver) emit(number int64, yield func(placed, error) bool) bool {
	e, err := r.entry(number)
	if err != nil {
		yield(placed{}, err)
		return false
	}
	if number == r.sel.plan.First() && r.sel.renamed != 0 {
		e = e.As(r.sel.root)
	}
	seg := r.seg
	if e.First >= 0 {
		if !r.sel.dups && r.sent(e.First, number) {
			return true
		}
		first, at, err := r.sel.plan.Entry(r.ctx, e.First)
		if err != nil {
			yield(placed{}, err)
			return false
		}
		e.Source, e.Offset, seg = first.Source, first.Offset, at
		e.Framed = first.Framed && first.CIDBytes() == e.CIDBytes()
	}
	if e.Source < 0 || r.again(e) {
		return true
	}
	if err := r.locate(seg, e.Source); err != nil {
		yield(placed{}, err)
		return false
	}
	return yield(placed{e, r.location}, nil)
}

// again reports whether the block of e was sent under another entry that is not
// marked as its first occurrence.
func (r *resolver) again(e index.Entry) bool {
	if r.seen == nil {
		return false
	}
	c, err := e.CID()
	if err != nil {
		return false // sending it gives the error
	}
	hash := string(c.Hash())
	sent := r.seen[hash]
	r.seen[hash] = true
	return sent
}

// entry returns an entry, mostly from the segment at hand.
func (r *resolver) entry(number int64) (index.Entry, error) {
	if r.seg != nil {
		if i := number - r.seg.First(); i >= 0 && i < int64(len(r.seg.Entries)) {
			return r.seg.Entries[i], nil
		}
	}
	e, seg, err := r.sel.plan.Entry(r.ctx, number)
	r.seg = seg
	return e, err
}

// sent reports whether the block that occurs first at entry first was sent
// before number, and notes that it is now.
func (r *resolver) sent(first, number int64) bool {
	if first >= r.sel.from && first < number {
		return true
	}
	for _, a := range r.sel.ancestors {
		if a == first {
			return true
		}
	}
	if r.borrowed[first] {
		return true
	}
	if r.borrowed == nil {
		r.borrowed = map[int64]bool{}
	}
	r.borrowed[first] = true
	return false
}

func (r *resolver) locate(seg *index.Segment, source int) error {
	if name := seg.Sources[source]; name != r.source || r.location == (index.Location{}) {
		loc, err := r.sel.plan.Location(r.ctx, seg, source)
		if err != nil {
			return err
		}
		r.source, r.location = name, loc
	}
	return nil
}

// maxCounted bounds the entries that are looked at to learn a size.
const maxCounted = 64 * index.SegmentEntries

// loose reports whether blocks may repeat, though repeats are not wanted, without
// being marked.
func (s planSelection) loose() bool {
	_, sure := s.plan.Sections()
	return !s.dups && !sure
}

// size returns the bytes of the selected CAR sections, and whether they could be
// known without looking at too many entries.
func (s planSelection) size(ctx context.Context) (int64, bool, error) {
	few := s.to-s.from <= maxCounted
	if p := s.plan; s.from == p.First() && s.to == p.End() {
		if n, ok := p.Repeated(); s.dups && ok {
			return n + s.renamed, true, nil
		}
		if n, sure := p.Sections(); !s.dups && !p.Borrows() && (sure || !few) {
			return n + s.renamed, true, nil
		}
	}
	if !few {
		return 0, false, nil
	}
	var n int64
	for e, err := range s.entries(ctx) {
		if err != nil {
			return 0, false, err
		}
		n += e.Section()
	}
	return n, true, nil
}

// variant tells plans apart that repeat blocks in their own way.
func (s planSelection) variant() string {
	if s.loose() && s.to-s.from > maxCounted {
		id := s.plan.ID()
		return variant + "." + hex.EncodeToString(id[:6])
	}
	return variant
}
