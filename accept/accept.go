// Package accept reads Accept headers and tells how much a client wants a media type
// (RFC 9110, section 12.5.1).
//
// It knows no media type. A server weighs those that it can answer with, and chooses among them:
// what decides between equals differs from protocol to protocol.
//
// # Errors
//
// Elements that are malformed are left out, as if they had not been sent. The only error of
// [Parse] is [ErrTooMany].
//
// All functions are safe for concurrent use.
package accept

import (
	"errors"
	"strings"
)

// MaxRanges bounds the media ranges of a request.
const MaxRanges = 64

// ErrTooMany says that a request has more than MaxRanges media ranges.
var ErrTooMany = errors.New("accept: more than 64 media ranges")

// How specifically a range names a media type. Each parameter that holds adds one to Exact.
const (
	AnyType    = 1 // */*
	AnySubtype = 2 // application/*
	Exact      = 3
)

// Range is one element of an Accept header.
type Range struct {
	Type, Subtype string // tokens as sent, or *; letter case means nothing
	Weight        int    // 0 to 1000 thousandths; 0: not acceptable

	params string // as sent, without the weight
}

// Parse reads all Accept headers of a request, in their order. A range without a weight has
// the weight 1000. Parameters behind the weight are no part of the range, as in RFC 7231.
func Parse(headers []string) ([]Range, error) {
	var out []Range
	for _, rest := range headers {
		for rest != "" {
			var element string
			element, rest = cut(rest, ',')
			r, ok := parse(element)
			if !ok {
				continue
			}
			if len(out) == MaxRanges {
				return nil, ErrTooMany
			}
			out = append(out, r)
		}
	}
	return out, nil
}

func parse(element string) (Range, bool) {
	r := Range{Weight: 1000}
	media, params := cut(element, ';')
	var ok bool
	r.Type, r.Subtype, ok = strings.Cut(strings.TrimSpace(media), "/")
	if !ok || !token(r.Type) || !token(r.Subtype) || r.Type == "*" && r.Subtype != "*" {
		return Range{}, false
	}
	for rest := params; rest != ""; {
		before := len(params) - len(rest)
		var name, value string
		name, value, rest = param(rest)
		if strings.EqualFold(name, "q") {
			r.params = params[:before]
			r.Weight, ok = weight(value)
			return r, ok
		}
	}
	r.params = params
	return r, true
}

// Param returns the value of the parameter name, or "" if the range has none. Of several it is
// the last.
func (r Range) Param(name string) string {
	found := ""
	for rest := r.params; rest != ""; {
		var have, value string
		have, value, rest = param(rest)
		if strings.EqualFold(have, name) {
			found = value
		}
	}
	return found
}

// Match returns how specifically r names mediaType ("application/json"), whatever the
// parameters: AnyType, AnySubtype or Exact, or 0 if it does not.
func (r Range) Match(mediaType string) int {
	if r.Type == "*" {
		return AnyType
	}
	typ, subtype, _ := strings.Cut(mediaType, "/")
	switch {
	case !strings.EqualFold(r.Type, typ):
		return 0
	case r.Subtype == "*":
		return AnySubtype
	case strings.EqualFold(r.Subtype, subtype):
		return Exact
	}
	return 0
}

// Preference is how much a client wants a media type. The zero value is: not at all.
type Preference struct {
	Weight      int // of the range that decides, in thousandths; 0: not acceptable
	Specificity int // AnyType, AnySubtype, Exact or more; 0: no range names it
	Position    int // of that range among all
}

// Weigh returns how much the sender of ranges wants mediaType. The range that names it most
// specifically decides, and the first of equals.
//
// params judges the parameters of a range that names mediaType itself: it returns how many of
// them hold for what would be answered, or a negative number if one does not, and then the range
// is none of mediaType. If params is nil, parameters mean nothing.
func Weigh(ranges []Range, mediaType string, params func(Range) int) Preference {
	var best Preference
	for i, r := range ranges {
		specificity := r.Match(mediaType)
		if specificity == Exact && params != nil {
			n := params(r)
			if n < 0 {
				continue
			}
			specificity += n
		}
		if specificity > best.Specificity {
			best = Preference{r.Weight, specificity, i}
		}
	}
	return best
}
