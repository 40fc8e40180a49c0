package routinghttp

import (
	"mime"
	"strconv"
	"strings"
)

// The media types that are served.
const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
)

// maxRanges bounds the elements of an Accept header that are looked at.
const maxRanges = 32

// form is how records are written.
type form byte

const (
	formNone form = iota // none that is acceptable
	formJSON
	formLines
)

// negotiate reads the Accept header (RFC 9110, section 12.5.1). Lines are written only to
// who asks for them by name, as the specification wants; if JSON is wanted as much, too, lines
// it is. Malformed elements are skipped.
func negotiate(accept []string) form {
	if len(accept) == 0 {
		return formJSON
	}
	json, lines, rest := preference{}, preference{}, maxRanges
	for _, header := range accept {
		for element := range strings.SplitSeq(header, ",") {
			if rest--; rest < 0 {
				break
			}
			media, params, err := mime.ParseMediaType(element)
			if err != nil {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(text, 64); err != nil || !(q >= 0 && q <= 1) {
					continue
				}
			}
			switch media {
			case typeLines:
				lines.set(3, q)
			case typeJSON:
				json.set(3, q)
			case "application/*":
				json.set(2, q)
			case "*/*":
				json.set(1, q)
			}
		}
	}
	switch {
	case lines.q > 0 && lines.q >= json.q:
		return formLines
	case json.q > 0:
		return formJSON
	}
	return formNone
}

// preference is how much a form is wanted, by the most specific element that names it.
type preference struct {
	specific int
	q        float64
}

func (p *preference) set(specific int, q float64) {
	if specific > p.specific {
		*p = preference{specific, q}
	}
}
