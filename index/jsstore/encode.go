package jsstore

import (
	"encoding/base64"
	"fmt"
	"strconv"

	"github.com/hashstream/hashstream/digest"
)

// Encode returns the object of a record, byte for byte as hash-stream writes it.
func Encode(r Record, f Format) []byte {
	b := appendRecord(append(make([]byte, 0, 256), `{"data":`...), r)
	b = appendString(append(b, `,"type":`...), string(f))
	return append(b, '}')
}

// appendRecord writes the fields in the order of their names, as dag-json wants.
func appendRecord(b []byte, r Record) []byte {
	b = append(b, '{')
	if r.Length != None {
		b = append(b, `"length":`...)
		b = append(strconv.AppendInt(b, r.Length, 10), ',')
	}
	b = append(b, `"location":`...)
	if r.Path != "" {
		b = appendString(b, r.Path)
	} else {
		b = appendDigest(b, r.Location)
	}
	b = appendDigest(append(b, `,"multihash":`...), r.Digest)
	if r.Offset != None {
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, r.Offset, 10)
	}
	b = append(b, `,"subRecords":[`...)
	for i, sub := range r.Sub {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRecord(b, sub)
	}
	b = append(b, `],"type":`...)
	return append(strconv.AppendUint(b, uint64(r.Type), 10), '}')
}

func appendDigest(b []byte, d digest.Digest) []byte {
	b = append(b, `{"/":{"bytes":"`...)
	b = base64.RawStdEncoding.AppendEncode(b, d.Bytes())
	return append(b, `"}}`...)
}

// appendString writes s as JSON.stringify does: everything as it is but quotes,
// backslashes and control characters.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= ' ':
			b = append(b, c)
		case short(c) != 0:
			b = append(b, '\\', short(c))
		default:
			b = fmt.Appendf(b, `\u%04x`, c)
		}
	}
	return append(b, '"')
}

// short is the letter after the backslash for a control character, 0 if there is none.
func short(c byte) byte {
	switch c {
	case '\b':
		return 'b'
	case '\t':
		return 't'
	case '\n':
		return 'n'
	case '\f':
		return 'f'
	case '\r':
		return 'r'
	}
	return 0
}
