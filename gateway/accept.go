package gateway

import (
	"math"
	"net/http"
	"strings"
)

// The media types that are served.
const (
	typeRaw    = "application/vnd.ipld.raw"
	typeCAR    = "application/vnd.ipld.car"
	typeBao    = "application/vnd.hashstream.bao"
	typeRecord = "application/vnd.ipfs.ipns-record"
)

// maxRanges bounds the elements of an Accept header.
const maxRanges = 64

// mediaRange is one element of an Accept header (RFC 9110, section 12.5.1) with
// the parameters that CAR knows.
type mediaRange struct {
	typ, subtype         string // as sent; letter case means nothing
	version, order, dups string // of a CAR; empty if unsaid
	q                    int    // weight in thousandths
}

// Specificity of a match. A match by CAR parameters adds their number to exact.
const (
	anyType    = 1 // */*
	anySubtype = 2 // application/*
	exact      = 3
)

// parseAccept reads the elements of all Accept headers. Malformed elements are
// skipped, as if they had not been sent.
func parseAccept(headers []string) ([]mediaRange, error) {
	var out []mediaRange
	for _, rest := range headers {
		for rest != "" {
			var element string
			element, rest = cutQuoted(rest, ',')
			m, ok := parseRange(element)
			if !ok {
				continue
			}
			if len(out) == maxRanges {
				return nil, refuse(http.StatusBadRequest, "Bad request: the Accept header has more than %d elements.", maxRanges)
			}
			out = append(out, m)
		}
	}
	return out, nil
}

func parseRange(element string) (mediaRange, bool) {
	m := mediaRange{q: 1000}
	media, rest := cutQuoted(element, ';')
	typ, subtype, ok := strings.Cut(strings.TrimSpace(media), "/")
	if !ok || typ == "" || subtype == "" || typ == "*" && subtype != "*" {
		return m, false
	}
	m.typ, m.subtype = typ, subtype
	for rest != "" {
		var param string
		param, rest = cutQuoted(rest, ';')
		name, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		value = unquote(value)
		switch strings.ToLower(name) {
		case "q": // what follows the weight describes no media type
			m.q, ok = parseWeight(value)
			return m, ok
		case "version":
			m.version = value
		case "order":
			m.order = value
		case "dups":
			m.dups = value
		}
	}
	return m, true
}

// cutQuoted cuts s at the first sep outside of a quoted string.
func cutQuoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// parseWeight reads a qvalue: 0 to 1 with at most three decimals.
func parseWeight(s string) (int, bool) {
	whole, decimals, _ := strings.Cut(s, ".")
	if len(decimals) > 3 || whole != "0" && whole != "1" {
		return 0, false
	}
	q := 0
	for i := range 3 {
		q *= 10
		if i < len(decimals) {
			if decimals[i] < '0' || decimals[i] > '9' {
				return 0, false
			}
			q += int(decimals[i] - '0')
		}
	}
	if whole == "1" {
		return 1000, q == 0
	}
	return q, true
}

// variant is one representation that can be asked for.
type variant struct {
	format Format
	dups   bool // of a CAR
}

// offer is how much a client wants a variant.
type offer struct {
	q           int
	specificity int
	position    int // in the header
}

// better reports whether o is wanted more than p. Equals keep the order of the
// server.
func (o offer) better(p offer) bool {
	if o.q != p.q {
		return o.q > p.q
	}
	if oExact := o.specificity >= exact; oExact != (p.specificity >= exact) {
		return oExact
	}
	return o.position < p.position
}

// weigh finds the most specific range that v matches. CAR parameters that the
// URL settled (those in pinned) are not compared.
func weigh(v variant, accept []mediaRange, pinned *params) offer {
	best := offer{position: math.MaxInt}
	for i, m := range accept {
		s := m.match(v, pinned)
		if s > best.specificity {
			best = offer{m.q, s, i}
		}
	}
	return best
}

// match returns how specifically m names v, or 0.
func (m mediaRange) match(v variant, pinned *params) int {
	if m.typ == "*" {
		return anyType
	}
	typ, subtype, _ := strings.Cut(v.format.mediaType(), "/")
	if !strings.EqualFold(m.typ, typ) {
		return 0
	}
	if m.subtype == "*" {
		return anySubtype
	}
	if !strings.EqualFold(m.subtype, subtype) {
		return 0
	}
	if v.format != FormatCAR {
		return exact
	}
	s := exact
	for _, p := range [...]struct {
		asked, pinned string
		ok            bool
	}{
		{m.version, pinned.version, m.version == "1"},
		{m.order, pinned.order, m.order == "dfs" || m.order == "unk"},
		{m.dups, pinned.dups, m.dups == yesNo(v.dups)},
	} {
		if p.asked == "" || p.pinned != "" {
			continue
		}
		if !p.ok {
			return 0
		}
		s++
	}
	return s
}

func (m mediaRange) is(f Format) bool {
	typ, subtype, _ := strings.Cut(f.mediaType(), "/")
	return strings.EqualFold(m.typ, typ) && strings.EqualFold(m.subtype, subtype)
}

func yesNo(dups bool) string {
	if dups {
		return "y"
	}
	return "n"
}
