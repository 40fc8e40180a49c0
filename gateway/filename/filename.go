// Package filename writes names of files into the Content-Disposition header (RFC 6266),
// whatever is in them.
package filename

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Attachment returns the value of Content-Disposition for an attachment of that name. A
// name that is none, such as an empty one, gives fallback.
func Attachment(name, fallback string) string {
	if name = cleanName(name); name == "" {
		return `attachment; filename="` + fallback + `"`
	}
	plain := asciiName(name)
	value := `attachment; filename="` + plain + `"`
	if plain != name {
		value += "; filename*=UTF-8''" + extValue(name)
	}
	return value
}

// cleanName replaces what has no business in a file's name: controls, invisible
// format characters (they can turn the reading order around), separators of
// paths and broken UTF-8. A name of dots alone is no name.
func cleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || r == '/' || r == '\\' || unicode.IsControl(r) || unicode.Is(unicode.Cf, r) ||
			r == '\u2028' || r == '\u2029' {
			return '_'
		}
		return r
	}, name)
	if strings.Trim(name, ". ") == "" {
		return ""
	}
	return name
}

// asciiName is name for clients that read no filename*: one underscore for each
// character outside of ASCII, and for the quote that would end the value.
func asciiName(name string) string {
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII || r == '"' {
			return '_'
		}
		return r
	}, name)
}

// extValue percent-encodes all but the attr-char of RFC 8187, section 3.2.1.
func extValue(name string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!#$&+-.^_`|~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
