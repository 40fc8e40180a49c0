package jsstore

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/index"
)

const (
	// maxNesting is far more levels than the three that are in use.
	maxNesting = 16
	// maxPath is the longest location in bytes.
	maxPath = 32 << 10
)

// Decode reads the object of a record. It accepts only what [Encode] writes, so that
// a record has one spelling, and no more than the record says is allocated.
func Decode(b []byte) (Record, Format, error) {
	d := decoder{b: string(b)}
	d.literal(`{"data":`)
	r := d.record(0)
	d.literal(`,"type":`)
	f := Format(d.text())
	d.literal(`}`)
	if d.err == nil && d.b != "" {
		d.fail("%d bytes after the record", len(d.b))
	}
	if d.err == nil && f != SingleLevel && f != MultipleLevel {
		d.fail("type %q", f)
	}
	if d.err != nil {
		return Record{}, "", d.err
	}
	return r, f, nil
}

// decoder reads from the front of b until the first error.
type decoder struct {
	b   string
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// next takes s if it comes next.
func (d *decoder) next(s string) bool {
	rest, ok := strings.CutPrefix(d.b, s)
	if d.err != nil || !ok {
		return false
	}
	d.b = rest
	return true
}

func (d *decoder) literal(s string) {
	if !d.next(s) {
		d.fail("%q is missing, %.20q stands there", s, d.b)
	}
}

func (d *decoder) record(depth int) Record {
	if depth > maxNesting {
		d.fail("more than %d levels of sub-records", maxNesting)
		return Record{}
	}
	r := Record{Offset: None, Length: None}
	d.literal(`{`)
	if d.next(`"length":`) {
		r.Length = d.number()
		d.literal(`,`)
	}
	d.literal(`"location":`)
	if strings.HasPrefix(d.b, `"`) {
		if r.Path = d.text(); r.Path == "" || len(r.Path) > maxPath {
			d.fail("path of %d bytes", len(r.Path))
		}
	} else {
		r.Location = d.digest()
	}
	d.literal(`,"multihash":`)
	r.Digest = d.digest()
	if d.next(`,"offset":`) {
		r.Offset = d.number()
	}
	d.literal(`,"subRecords":[`)
	r.Sub = d.records(depth + 1)
	d.literal(`],"type":`)
	t := d.number()
	if d.err == nil && t > int64(index.InlineBlob) {
		d.fail("record of type %d", t)
	}
	r.Type = index.Type(t)
	d.literal(`}`)
	if _, inline := r.Location.Inline(); d.err == nil && r.Type == index.InlineBlob && !inline {
		d.fail("an inline blob without its bytes")
	}
	return r
}

func (d *decoder) records(depth int) (rs []Record) {
	if strings.HasPrefix(d.b, `]`) {
		return nil
	}
	for d.err == nil {
		rs = append(rs, d.record(depth))
		if !d.next(`,`) {
			break
		}
	}
	return rs
}

// number reads a natural number that fits into what JavaScript counts with, and so
// into an int64 with room to add two of them.
func (d *decoder) number() int64 {
	n := 0
	for n < len(d.b) && d.b[n] >= '0' && d.b[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(d.b[:n], 10, 64)
	if err != nil || v >= 1<<53 || d.b[0] == '0' && n > 1 {
		d.fail("no number at %.20q", d.b)
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) digest() digest.Digest {
	d.literal(`{"/":{"bytes":"`)
	text, rest, ok := strings.Cut(d.b, `"`)
	if d.err != nil || !ok || strings.ContainsAny(text, "\r\n") { // which the base64 package passes over
		d.fail("bytes without an end")
		return digest.Digest{}
	}
	b, err := base64.RawStdEncoding.Strict().DecodeString(text)
	if err != nil {
		d.fail("%v", err)
		return digest.Digest{}
	}
	v, err := digest.FromBytes(b)
	if err != nil {
		d.fail("%v", err)
	}
	d.b = rest
	d.literal(`}}`)
	return v
}

// text reads a string. What need not be escaped must not be.
func (d *decoder) text() string {
	d.literal(`"`)
	end := strings.IndexAny(d.b, `"\`)
	for end >= 0 && end < len(d.b) && d.b[end] == '\\' { // to the closing quote
		next := strings.IndexAny(d.b[min(end+2, len(d.b)):], `"\`)
		if next < 0 {
			end = -1
			break
		}
		end += 2 + next
	}
	if d.err != nil || end < 0 {
		d.fail("string without an end")
		return ""
	}
	s, err := unescape(d.b[:end])
	if err != nil || !utf8.ValidString(s) || string(appendString(nil, s)) != `"`+d.b[:end]+`"` {
		d.fail("string %.20q", d.b[:end])
		return ""
	}
	d.b = d.b[end+1:]
	return s
}

// unescape resolves the escapes that [appendString] writes.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", ErrMalformed
		}
		c := s[i]
		switch at := strings.IndexByte(`btnfr"\`, c); {
		case at >= 0:
			c = "\b\t\n\f\r\"\\"[at]
		case c == 'u' && i+4 < len(s):
			v, err := strconv.ParseUint(s[i+1:i+5], 16, 8)
			if err != nil {
				return "", err
			}
			c, i = byte(v), i+4
		default:
			return "", ErrMalformed
		}
		b = append(b, c)
	}
	return string(b), nil
}
