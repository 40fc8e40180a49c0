package ipnihttp

import "github.com/hashstream/hashstream/accept"

// The media types that are served.
const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
)

// form is how results are written.
type form byte

const (
	formNone form = iota // none that is acceptable
	formJSON
	formLines // NDJSON
)

// negotiate reads the Accept header (RFC 9110, section 12.5.1). Without one it is
// JSON. Of two forms with the same weight the one that is named wins over a wildcard, and lines
// over JSON, as with the servers in the field. Who names too much gets neither.
func negotiate(headers []string) form {
	if len(headers) == 0 {
		return formJSON
	}
	if len(headers) == 1 { // what clients send
		switch headers[0] {
		case typeJSON, "*/*":
			return formJSON
		case typeLines:
			return formLines
		}
	}
	ranges, err := accept.Parse(headers)
	json, lines := accept.Weigh(ranges, typeJSON, nil), accept.Weigh(ranges, typeLines, nil)
	switch {
	case err != nil || json.Weight == 0 && lines.Weight == 0:
		return formNone
	case lines.Weight > json.Weight, lines.Weight == json.Weight && lines.Specificity == accept.Exact:
		return formLines
	}
	return formJSON
}
