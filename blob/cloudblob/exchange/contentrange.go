package exchange

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ParseContentRange reads "bytes first-last/size" with 0 ≤ first ≤ last < size
// (RFC 9110 section 14.4).
func ParseContentRange(s string) (first, last, size int64, err error) {
	spec, ok := strings.CutPrefix(s, "bytes ")
	span, total, ok2 := strings.Cut(spec, "/")
	a, b, ok3 := strings.Cut(span, "-")
	var errs [3]error
	first, errs[0] = ParseNumber(a)
	last, errs[1] = ParseNumber(b)
	size, errs[2] = ParseNumber(total)
	if !ok || !ok2 || !ok3 || errors.Join(errs[:]...) != nil || first > last || last >= size {
		return 0, 0, 0, fmt.Errorf("malformed Content-Range %q", s[:min(len(s), 100)])
	}
	return first, last, size, nil
}

// ParseNumber reads digits only: no sign.
func ParseNumber(s string) (int64, error) {
	v, err := strconv.ParseUint(s, 10, 63)
	return int64(v), err
}
