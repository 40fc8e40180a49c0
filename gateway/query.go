package gateway

import (
	"iter"
	"net/http"
	"net/url"
	"strings"
)

// pairs yields the parts of a query as they were sent. It builds no map, because
// most requests have one parameter.
func pairs(query string) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for query != "" {
			var pair string
			pair, query, _ = strings.Cut(query, "&")
			name, value, _ := strings.Cut(pair, "=")
			if pair != "" && !yield(name, value) {
				return
			}
		}
	}
}

// params are the query parameters that mean something here. Of a repeated
// parameter the first value counts; an empty one is as good as absent.
type params struct {
	format, scope, bytes string
	version, order, dups string
	filename             string
}

func parseParams(query string) (params, error) {
	var p params
	for name, value := range pairs(query) {
		if strings.Contains(name, "%") {
			name, _ = url.QueryUnescape(name) // a malformed name is nobody's
		}
		to := p.field(name)
		if to == nil || *to != "" {
			continue
		}
		text, err := url.QueryUnescape(value)
		if err != nil {
			return p, refuse(http.StatusBadRequest, "Bad request: parameter %s has a malformed percent escape.", name)
		}
		*to = text
	}
	return p, nil
}

func (p *params) field(name string) *string {
	switch name {
	case "format":
		return &p.format
	case "dag-scope":
		return &p.scope
	case "entity-bytes":
		return &p.bytes
	case "car-version":
		return &p.version
	case "car-order":
		return &p.order
	case "car-dups":
		return &p.dups
	case "filename":
		return &p.filename
	}
	return nil
}
