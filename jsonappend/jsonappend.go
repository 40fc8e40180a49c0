// Package jsonappend writes strings of JSON (RFC 8259, section 7) as encoding/json does, byte for
// byte, without reflection and, in what is common, without an allocation: in answers to
// small lookups most of the time would go there.
//
// # Errors
//
// There are none: every string can be written.
//
// All functions are safe for concurrent use.
package jsonappend

import (
	"encoding/base64"
	"encoding/json"
)

// String appends s as a string of JSON that is also safe in HTML. Bytes that are not
// UTF-8 become U+FFFD.
func String(dst []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // of a string it never fails
			return append(dst, text...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// Base64 appends b as a string of JSON in base64 with padding (RFC 4648, section 4), which is how
// encoding/json writes bytes that are not nil.
func Base64(dst, b []byte) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}
