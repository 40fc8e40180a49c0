package tagset

import (
	"cmp"
	"slices"

	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Span is the tags from From to To, both inclusive, that were removed in a generation.
type Span struct {
	From, To valuestore.Tag
	Gen      uint64
}

// push appends s, or makes the last span longer if s goes on with it.
func push(spans []Span, s Span) []Span {
	if n := len(spans); n > 0 && spans[n-1].Gen == s.Gen && spans[n-1].To+1 == s.From {
		spans[n-1].To = s.To
		return spans
	}
	return append(spans, s)
}

// overlay returns the tags of both: where both have one, the generation is that of newer.
func overlay(older, newer []Span) []Span {
	out := make([]Span, 0, len(older)+len(newer))
	var rest Span // what is left of the next older span
	some := false
	next := func() {
		if !some && len(older) > 0 {
			rest, older, some = older[0], older[1:], true
		}
	}
	for _, n := range newer {
		for next(); some && rest.From < n.From; next() {
			if rest.To < n.From {
				out, some = push(out, rest), false
				continue
			}
			out = push(out, Span{rest.From, n.From - 1, rest.Gen})
			rest.From = n.From
		}
		for next(); some && rest.To <= n.To; next() {
			some = false
		}
		if some && rest.From <= n.To {
			rest.From = n.To + 1
		}
		out = push(out, n)
	}
	for next(); some; next() {
		out, some = push(out, rest), false
	}
	return out
}

// find returns the span with a tag.
func find(spans []Span, tag valuestore.Tag) (Span, bool) {
	low, high := 0, len(spans)
	for low < high {
		if mid := int(uint(low+high) >> 1); spans[mid].To < tag {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == len(spans) || spans[low].From > tag {
		return Span{}, false
	}
	return spans[low], true
}

// Overlap reports whether a and b, both in order, have a tag in common.
func Overlap(a, b []Span) bool {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].To < b[0].From:
			a = a[1:]
		case b[0].To < a[0].From:
			b = b[1:]
		default:
			return true
		}
	}
	return false
}

// coverMost is how many spans a cover has at most.
const coverMost = 512

// Cover is spans that hold certain tags, and others between them where they would be too many.
type Cover struct {
	spans []Span
	gap   valuestore.Tag // tags that may be missing within a span
}

// Add adds a tag that is not below those that were added before.
func (c *Cover) Add(tag valuestore.Tag) {
	if n := len(c.spans); n > 0 && tag <= c.spans[n-1].To+c.gap+1 {
		c.spans[n-1].To = tag
		return
	}
	c.spans = append(c.spans, Span{From: tag, To: tag})
	for len(c.spans) > coverMost {
		c.gap = 2*c.gap + 1
		kept := c.spans[:1]
		for _, s := range c.spans[1:] {
			if last := &kept[len(kept)-1]; s.From <= last.To+c.gap+1 {
				last.To = s.To
			} else {
				kept = append(kept, s)
			}
		}
		c.spans = kept
	}
}

// Spans returns the spans in order, of generation 0.
func (c *Cover) Spans() []Span { return slices.Clip(c.spans) }

func sortSpans(spans []Span) {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
}

// Union returns spans that hold the tags of all lists, in order and apart from each other.
func Union(lists ...[]Span) []Span {
	all := slices.Concat(lists...)
	sortSpans(all)
	var out []Span
	for _, s := range all {
		if n := len(out); n > 0 && s.From <= out[n-1].To+1 {
			out[n-1].To = max(out[n-1].To, s.To)
		} else {
			out = append(out, Span{From: s.From, To: s.To})
		}
	}
	return out
}
