package gateway

import (
	"net/http"
	"strconv"
	"strings"
)

// span is n bytes from offset off.
type span struct{ off, n int64 }

// parseSpan reads a Range header for a representation of size bytes (RFC 9110,
// section 14.2). ok is false where the header is to be ignored: another unit, bad
// syntax, several ranges. A range that is wholly outside is an error of status 416.
func parseSpan(header string, size int64) (s span, ok bool, err error) {
	unit, set, _ := strings.Cut(header, "=")
	if !strings.EqualFold(strings.TrimSpace(unit), "bytes") || strings.Contains(set, ",") {
		return span{}, false, nil
	}
	from, to, found := strings.Cut(strings.TrimSpace(set), "-")
	if !found || from == "" && to == "" {
		return span{}, false, nil
	}
	if from == "" {
		return suffix(to, size)
	}
	first, ok := position(from)
	if !ok {
		return span{}, false, nil
	}
	last := size - 1
	if to != "" {
		end, ok := position(to)
		if !ok || end < first {
			return span{}, false, nil
		}
		last = min(last, end)
	}
	if first >= size {
		return span{}, false, unsatisfiable(header)
	}
	return span{first, last - first + 1}, true, nil
}

func suffix(text string, size int64) (span, bool, error) {
	n, ok := position(text)
	switch {
	case !ok:
		return span{}, false, nil
	case n == 0:
		return span{}, false, unsatisfiable("-0")
	case size == 0:
		return span{}, false, nil // all of nothing: there is no way to say that in 206
	}
	n = min(n, size)
	return span{size - n, n}, true, nil
}

// position reads a byte position. One too large for an int64 is as good as the
// largest.
func position(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, _ := strconv.ParseInt(s, 10, 64) // digits alone: it fails only by overflow, and then returns the largest
	return n, true
}

func unsatisfiable(header string) error {
	return refuse(http.StatusRequestedRangeNotSatisfiable, "Range not satisfiable: %q is outside of the block.", clip(header))
}
