// Package contentrange reads the Content-Range of answers: which bytes of an object a server
// says that it sends ([RFC 9110 section 14.4]).
//
// # Errors
//
// Everything that is not exactly as the format says is an error, of at most a few hundred
// bytes. A range whose object has no known size matches [ErrSize].
//
// The functions are safe for concurrent use.
//
// [RFC 9110 section 14.4]: https://www.rfc-editor.org/rfc/rfc9110#section-14.4
package contentrange

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrSize reports a range of an object whose size the server does not tell.
var ErrSize = errors.New("the server does not tell the size of the object")

// Range is the bytes of an object from First to Last, both of which belong to it:
// 0 ≤ First ≤ Last < Size.
type Range struct {
	First, Last int64
	Size        int64 // of the whole object, in bytes
}

// Len is the number of bytes in the range.
func (r Range) Len() int64 { return r.Last - r.First + 1 }

// Answers reports whether r is what there is of n bytes from off: they end with the object,
// and n < 0 means all up to there.
func (r Range) Answers(off, n int64) bool {
	want := r.Size - off
	if n >= 0 {
		want = min(want, n)
	}
	return r.First == off && r.Len() == want
}

// String writes the range as a server does.
func (r Range) String() string { return fmt.Sprintf("bytes %d-%d/%d", r.First, r.Last, r.Size) }

// Parse reads "bytes first-last/size".
func Parse(s string) (Range, error) {
	spec, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(spec, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return Range{}, malformed(s)
	}
	var r Range
	var errs [3]error
	r.First, errs[0] = ParseNumber(first)
	r.Last, errs[1] = ParseNumber(last)
	if total == "*" && errors.Join(errs[:]...) == nil && r.First <= r.Last {
		return Range{}, ErrSize
	}
	r.Size, errs[2] = ParseNumber(total)
	if errors.Join(errs[:]...) != nil || r.First > r.Last || r.Last >= r.Size {
		return Range{}, malformed(s)
	}
	return r, nil
}

// ParseUnsatisfied reads "bytes */size", the answer to a range that the object does not
// have, and returns the size.
func ParseUnsatisfied(s string) (int64, error) {
	total, ok := strings.CutPrefix(s, "bytes */")
	size, err := ParseNumber(total)
	if !ok || err != nil {
		return 0, malformed(s)
	}
	return size, nil
}

func malformed(s string) error {
	return fmt.Errorf("malformed Content-Range %q", s[:min(len(s), 100)])
}

// ParseNumber reads a number of bytes: digits and no sign, at most 2^63-1.
func ParseNumber(s string) (int64, error) {
	v, err := strconv.ParseUint(s, 10, 63)
	return int64(v), err
}
