package ipnihttp

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

// form is how results are written.
type form byte

const (
	formNone form = iota // none that is acceptable
	formJSON
	formLines // NDJSON
)

// negotiate reads the Accept header (RFC 9110, section 12.5.1). Without one it is
// JSON. Of two forms with the same weight the one that is named wins over a wildcard, and lines
// over JSON, as with the servers in the field. Malformed elements are skipped.
func negotiate(accept []string) form {
	if len(accept) == 0 {
		return formJSON
	}
	if len(accept) == 1 { // what clients send
		switch accept[0] {
		case typeJSON, "*/*":
			return formJSON
		case typeLines:
			return formLines
		}
	}
	json, lines, rest := weight{}, weight{}, maxRanges
	for _, header := range accept {
		for element := range strings.SplitSeq(header, ",") {
			if rest--; rest < 0 {
				break
			}
			media, params, err := mime.ParseMediaType(element)
			if err != nil {
				continue
			}
			q, ok := quality(params["q"])
			if !ok {
				continue
			}
			json.consider(media, typeJSON, q)
			lines.consider(media, typeLines, q)
		}
	}
	switch {
	case json.q <= 0 && lines.q <= 0:
		return formNone
	case lines.q > json.q, lines.q == json.q && lines.specific >= json.specific && lines.specific == exactly:
		return formLines
	}
	return formJSON
}

// weight is how much a form is wanted, by the most specific element that names it.
type weight struct {
	q        float64
	specific int
}

const exactly = 3

func (w *weight) consider(media, typ string, q float64) {
	specific := 0
	switch media {
	case typ:
		specific = exactly
	case "application/*":
		specific = 2
	case "*/*":
		specific = 1
	}
	if specific > w.specific {
		*w = weight{q, specific}
	}
}

// quality parses a weight: 0 to 1, and 1 if there is none.
func quality(s string) (float64, bool) {
	if s == "" {
		return 1, true
	}
	q, err := strconv.ParseFloat(s, 64)
	return q, err == nil && q >= 0 && q <= 1
}
