package routinghttp

import "github.com/hashstream/hashstream/accept"

// The media types that are served.
const (
	typeJSON  = "application/json"
	typeLines = "application/x-ndjson"
)

// form is how records are written.
type form byte

const (
	formNone form = iota // none that is acceptable
	formJSON
	formLines
)

// negotiate reads the Accept header (RFC 9110, section 12.5.1). Lines are written only to
// who asks for them by name, as the specification wants; if JSON is wanted as much, too, lines
// it is. Who names too much gets neither.
func negotiate(headers []string) form {
	if len(headers) == 0 {
		return formJSON
	}
	ranges, err := accept.Parse(headers)
	json, lines := accept.Weigh(ranges, typeJSON, nil), accept.Weigh(ranges, typeLines, nil)
	switch {
	case err != nil:
		return formNone
	case lines.Specificity == accept.Exact && lines.Weight > 0 && lines.Weight >= json.Weight:
		return formLines
	case json.Weight > 0:
		return formJSON
	}
	return formNone
}
