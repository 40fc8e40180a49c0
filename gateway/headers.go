package gateway

import (
	"net/http"
	"strings"
)

const (
	immutable = "public, max-age=29030400, immutable"

	corsMethods = "GET, HEAD, OPTIONS"
	corsAllow   = "Accept, Cache-Control, Content-Type, If-Match, If-None-Match, If-Range, Range, User-Agent, X-Requested-With"
	corsExpose  = "Content-Disposition, Content-Length, Content-Location, Content-Range, Etag, Retry-After, X-Chunked-Output, X-Ipfs-Path, X-Ipfs-Roots, X-Stream-Output"
)

// fixedHeaders are values that never change, ready to be put into a header map
// without a copy per answer. Nobody writes to them.
type fixedHeaders struct {
	origin, methods, allow, expose []string
	nosniff, immutable, accept     []string
	bytes, none                    []string
	raw, car, carDups, bao         []string
}

func newFixedHeaders() fixedHeaders {
	one := func(s string) []string { return []string{s} }
	return fixedHeaders{
		origin:    one("*"),
		methods:   one(corsMethods),
		allow:     one(corsAllow),
		expose:    one(corsExpose),
		nosniff:   one("nosniff"),
		immutable: one(immutable),
		accept:    one("Accept"),
		bytes:     one("bytes"),
		none:      one("none"),
		raw:       one(typeRaw),
		bao:       one(typeBao),
		car:       one(typeCAR + "; version=1; order=dfs; dups=n"),
		carDups:   one(typeCAR + "; version=1; order=dfs; dups=y"),
	}
}

// cors lets scripts of any origin read the answer: it is public by its nature.
func (f *fixedHeaders) cors(h http.Header) {
	h["Access-Control-Allow-Origin"] = f.origin
	h["Access-Control-Allow-Methods"] = f.methods
	h["Access-Control-Allow-Headers"] = f.allow
	h["Access-Control-Expose-Headers"] = f.expose
}

func (f *fixedHeaders) contentType(v variant) []string {
	switch {
	case v.format == FormatRaw:
		return f.raw
	case v.format == FormatBao:
		return f.bao
	case v.dups:
		return f.carDups
	}
	return f.car
}

// contentLocation is the URL that gives the same answer to anybody, whatever
// Accept says: path with the negotiated parameters in the query.
func contentLocation(path, query string, v variant) string {
	var b strings.Builder
	b.WriteString(path)
	b.WriteByte('?')
	for name, value := range pairs(query) {
		switch name {
		case "format", "car-version", "car-order", "car-dups":
			continue
		}
		b.WriteString(escapeQuery(name) + "=" + escapeQuery(value) + "&")
	}
	b.WriteString("format=" + string(v.format))
	if v.format == FormatCAR {
		b.WriteString("&car-version=1&car-order=dfs&car-dups=" + yesNo(v.dups))
	}
	return b.String()
}

// escapeQuery makes a part of a query, escaped already by its sender, fit for a
// header.
func escapeQuery(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '#' || c == '<' || c == '>' {
			const digits = "0123456789ABCDEF"
			b.WriteString(string([]byte{'%', digits[c>>4], digits[c&15]}))
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// onlyIfCached reports whether a request's Cache-Control has the directive.
func onlyIfCached(headers []string) bool {
	for _, rest := range headers {
		for rest != "" {
			var directive string
			directive, rest, _ = strings.Cut(rest, ",")
			if strings.EqualFold(strings.TrimSpace(directive), "only-if-cached") {
				return true
			}
		}
	}
	return false
}
