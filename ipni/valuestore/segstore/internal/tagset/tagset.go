// Package tagset keeps sets of removed tags: with millions of them, a set is cheap to add to, to
// look into and to write down. Tags that were removed together are often neighbours, so a
// set is spans. docs/formats/segment.md describes the bytes.
//
// # Errors
//
// Malformed bytes match [digest.ErrMismatch].
//
// A Set does not change, and is safe for concurrent use. The nil Set is empty.
package tagset

import (
	"slices"
	"sync"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Set is a set of tags, each with the generation in which it was removed.
type Set struct {
	runs []run // the oldest and longest first

	once sync.Once
	flat *Set
}

// run is a part of a set: spans in order, apart from each other.
type run struct {
	spans  []Span
	tags   uint64
	newest uint64 // generation
}

// growth is how many times longer than the next one a run is at least. A tag is copied a few times
// for each power of it, and a lookup looks into as many runs.
const growth = 3

func newRun(spans []Span) run {
	r := run{spans: spans}
	for _, s := range spans {
		r.tags += uint64(s.To-s.From) + 1
		r.newest = max(r.newest, s.Gen)
	}
	return r
}

// of returns the set of spans, which are in order.
func of(spans []Span) *Set {
	if len(spans) == 0 {
		return nil
	}
	return &Set{runs: []run{newRun(spans)}}
}

// Add returns s with tags, which are removed in a generation that is not below those of s.
func (s *Set) Add(tags []valuestore.Tag, gen uint64) *Set {
	if len(tags) == 0 {
		return s
	}
	tags = slices.Clone(tags)
	slices.Sort(tags)
	var spans []Span
	for _, tag := range slices.Compact(tags) {
		spans = push(spans, Span{tag, tag, gen})
	}
	runs := append(slices.Clone(s.parts()), newRun(spans))
	for n := len(runs); n > 1 && len(runs[n-2].spans) <= growth*len(runs[n-1].spans); n-- {
		runs[n-2] = newRun(overlay(runs[n-2].spans, runs[n-1].spans))
		runs = runs[:n-1]
	}
	return &Set{runs: runs}
}

func (s *Set) parts() []run {
	if s == nil {
		return nil
	}
	return s.runs
}

// Has reports whether tag is in the set.
func (s *Set) Has(tag valuestore.Tag) bool {
	for _, r := range s.parts() {
		if _, ok := find(r.spans, tag); ok {
			return true
		}
	}
	return false
}

// Empty reports whether there are no tags.
func (s *Set) Empty() bool { return s == nil }

// Len returns how many tags there are. One that was added twice may count twice.
func (s *Set) Len() (n uint64) {
	for _, r := range s.parts() {
		n += r.tags
	}
	return n
}

// Size returns how many spans there are: what the set costs.
func (s *Set) Size() (n int) {
	for _, r := range s.parts() {
		n += len(r.spans)
	}
	return n
}

// Flat returns the same set in the form that is looked into fastest. It is made once.
func (s *Set) Flat() *Set {
	if s == nil || len(s.runs) == 1 {
		return s
	}
	s.once.Do(func() {
		var spans []Span
		for _, r := range slices.Backward(s.runs) {
			spans = overlay(r.spans, spans) // the short ones first
		}
		s.flat = of(spans)
	})
	return s.flat
}

// Spans returns the spans of the set in order. They are not to be changed.
func (s *Set) Spans() []Span {
	if s == nil {
		return nil
	}
	return s.Flat().runs[0].spans
}

// Since returns the spans, in order, of tags that were removed after a generation.
func (s *Set) Since(gen uint64) (spans []Span) {
	for _, r := range s.parts() {
		if r.newest > gen {
			late := slices.DeleteFunc(slices.Clone(r.spans), func(p Span) bool { return p.Gen <= gen })
			spans = overlay(spans, late)
		}
	}
	return spans
}

// Keep returns the set of what was removed after a generation, or lies in one of the spans of needed, which
// are in order and apart from each other.
func (s *Set) Keep(gen uint64, needed []Span) *Set {
	var kept []Span
	for _, p := range s.Spans() {
		if p.Gen > gen {
			kept = push(kept, p)
			continue
		}
		for len(needed) > 0 && needed[0].To < p.From {
			needed = needed[1:]
		}
		for _, n := range needed {
			if n.From > p.To {
				break
			}
			kept = push(kept, Span{max(p.From, n.From), min(p.To, n.To), p.Gen})
		}
	}
	return of(kept)
}
