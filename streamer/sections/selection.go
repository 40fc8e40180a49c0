// Package sections finds the CAR sections that answer a selection in a plan of the
// index, and coalesces them into the ranges that hold them.
//
// # Errors
//
// They are those of the index; a plan that contradicts itself matches
// [index.ErrCorrupt]. A range of bytes outside of the content matches
// [block.ErrRange].
package sections

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/index"
)

// Selection is the entries of a plan that answer a request: some ancestors,
// then the entries from (inclusive) to (exclusive).
type Selection struct {
	plan      index.Plan
	root      cid.Cid // the plan's root as it is asked for
	renamed   int64   // bytes that root adds to the section of the plan's root
	ancestors []int64
	from, to  int64
	dups      bool
}

// Stretch is entries whose sections stand one after the other in a location, or
// one entry.
type Stretch struct {
	Entries  []index.Entry
	Location index.Location
}

// Size is the bytes of the CAR sections of all entries.
func (st Stretch) Size() int64 {
	last := &st.Entries[len(st.Entries)-1]
	return last.End() - st.Entries[0].End() + st.Entries[0].Section()
}

// Select returns the part of p that answers sel. It reports false for what is
// found by walking: a directory's own blocks, what is asked for under another
// codec than the plan's, and parts of graphs with folded repeats, whose entries
// may stand for blocks elsewhere.
func Select(ctx context.Context, p index.Plan, sel block.Selection) (Selection, bool, error) {
	ps, err := whole(ctx, p, sel)
	if err != nil || ps.root.Type() != sel.Root.Type() {
		return Selection{}, false, err
	}
	_, complete := p.Repeated()
	switch {
	case !complete && (sel.Dups || sel.Bytes != nil || p.Borrows()):
	case sel.Bytes != nil && p.File():
		ps, err := ps.slice(ctx, *sel.Bytes)
		return ps, true, err
	case sel.Bytes == nil && (sel.Scope == block.ScopeAll || p.File()):
		return ps, true, nil
	}
	return Selection{}, false, nil
}

// Below selects every entry of p but its root.
func Below(p index.Plan) Selection { return Selection{plan: p, from: p.First() + 1, to: p.End()} }

// whole selects every entry of p. If sel asks for p's root under the same codec
// in another version of CID, the root's entry is renamed to that.
func whole(ctx context.Context, p index.Plan, sel block.Selection) (Selection, error) {
	e, _, err := p.Entry(ctx, p.First())
	if err != nil {
		return Selection{}, err
	}
	ps := Selection{plan: p, from: p.First(), to: p.End(), dups: sel.Dups}
	if ps.root, err = e.CID(); err == nil && ps.root.Type() == sel.Root.Type() && !ps.root.Equals(sel.Root) {
		ps.root, ps.renamed = sel.Root, e.As(sel.Root).Section()-e.Section()
	}
	return ps, err
}

// slice narrows a selection to the entries that carry the bytes r of the file and
// those above them: the entity-bytes of the trustless gateway.
func (s Selection) slice(ctx context.Context, r block.ByteRange) (Selection, error) {
	p := s.plan
	from, to, err := r.Resolve(p.FileBytes())
	if err != nil {
		return Selection{}, err
	}
	if from == to {
		s.to = s.from + 1 // an empty file: its root alone
		return s, nil
	}
	if s.from, err = p.Seek(ctx, p.Position()+from); err != nil {
		return Selection{}, err
	}
	last, err := p.Seek(ctx, p.Position()+to-1)
	if err != nil {
		return Selection{}, err
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
			return nil, fmt.Errorf("sections: plan of %s: %w: depth %d below %d ancestors", p.Root, index.ErrCorrupt, depth, len(above))
		}
		above = append(above[:depth], seg.First()+int64(i))
	}
	if e.Depth > len(above) {
		return nil, fmt.Errorf("sections: plan of %s: %w: depth %d below %d ancestors", p.Root, index.ErrCorrupt, e.Depth, len(above))
	}
	above = above[:e.Depth]
	for len(above) > 0 && above[0] < p.First() {
		above = above[1:]
	}
	return above, nil
}

// Stretches yields the selected entries with their places, in order. Inline
// blocks are left out, and repeated ones unless dups are wanted. Entries whose
// location was removed come with an error that matches [io/fs.ErrNotExist], and
// others may follow them.
func (s Selection) Stretches(ctx context.Context) iter.Seq2[Stretch, error] {
	return func(yield func(Stretch, error) bool) {
		r := resolver{ctx: ctx, sel: s}
		if s.loose() && s.to-s.from <= maxCounted {
			r.seen = map[string]bool{}
		}
		for _, number := range s.ancestors {
			if _, ok := r.emit(number, number+1, yield); !ok {
				return
			}
		}
		for number := s.from; number < s.to; {
			next, ok := r.emit(number, s.to, yield)
			if !ok {
				return
			}
			number = next
		}
	}
}

// resolver places entries one after the other.
type resolver struct {
	ctx      context.Context
	sel      Selection
	seg      *index.Segment
	borrowed map[int64]bool  // first occurrences outside of the selection that were sent
	seen     map[string]bool // multihashes that were sent, if entries do not tell
	source   [16]byte
	location index.Location
}

// emit yields entry number, and those up to entry to that continue its stretch. It
// returns the number of the next entry and whether to go on.
func (r *resolver) emit(number, to int64, yield func(Stretch, error) bool) (int64, bool) {
	i, err := r.seek(number)
	if err != nil {
		yield(Stretch{}, err)
		return number, false
	}
	renamed := number == r.sel.plan.First() && r.sel.renamed != 0
	if n := r.seg.Stretch(i); n > i && !renamed && r.seen == nil {
		n = min(n, i+int(to-number))
		return number + int64(n-i), r.place(r.seg, r.seg.Entries[i:n], yield)
	}
	e := r.seg.Entries[i]
	if renamed {
		e = e.As(r.sel.root)
	}
	seg := r.seg
	if e.First >= 0 {
		if !r.sel.dups && r.sent(e.First, number) {
			return number + 1, true
		}
		first, at, err := r.sel.plan.Entry(r.ctx, e.First)
		if err != nil {
			yield(Stretch{}, err)
			return number, false
		}
		e.Source, e.Offset, seg = first.Source, first.Offset, at
		e.Framed = first.Framed && first.CIDBytes() == e.CIDBytes()
	}
	if e.Source < 0 || r.again(e) {
		return number + 1, true
	}
	return number + 1, r.place(seg, []index.Entry{e}, yield)
}

// place yields entries that stand together in a source of seg.
func (r *resolver) place(seg *index.Segment, entries []index.Entry, yield func(Stretch, error) bool) bool {
	if err := r.locate(seg, entries[0].Source); err != nil {
		return yield(Stretch{Entries: entries}, err)
	}
	return yield(Stretch{entries, r.location}, nil)
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

// seek makes the segment of an entry the one at hand, and returns the entry's
// index in it.
func (r *resolver) seek(number int64) (int, error) {
	if r.seg != nil {
		if i := number - r.seg.First(); i >= 0 && i < int64(len(r.seg.Entries)) {
			return int(i), nil
		}
	}
	_, seg, err := r.sel.plan.Entry(r.ctx, number)
	if err != nil {
		return 0, err
	}
	r.seg = seg
	return int(number - seg.First()), nil
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
func (s Selection) loose() bool {
	_, sure := s.plan.Sections()
	return !s.dups && !sure
}

// Size returns the bytes of the selected CAR sections, and whether they could be
// known without looking at too many entries.
func (s Selection) Size(ctx context.Context) (int64, bool, error) {
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
	for st, err := range s.Stretches(ctx) {
		if err != nil {
			return 0, false, err
		}
		n += st.Size()
	}
	return n, true, nil
}

// Variant tells plans apart that repeat blocks in their own way: it is the same
// for all others.
func (s Selection) Variant() string {
	if s.loose() && s.to-s.from > maxCounted {
		id := s.plan.ID()
		return "." + hex.EncodeToString(id[:6])
	}
	return ""
}
