// Package retryafter reads the field by which a busy HTTP server says when to come back
// (RFC 9110, section 10.2.3).
//
// # Errors
//
// There are none: a value that is malformed says nothing.
//
// Its one function is safe for concurrent use.
package retryafter

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// Parse returns how long a client is asked to wait by the value of a Retry-After field, which is
// a number of seconds or a date. It is a whole number of seconds, and 0 if the value is
// malformed, empty or a date that has passed. It comes from a stranger: more than 68
// years are 68 years, and the caller decides what is too long.
func Parse(value string) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err == nil || errors.Is(err, strconv.ErrRange) { // then it is the largest of 31 bits
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	wait := min(max(0, time.Until(at)), (1<<31-1)*time.Second)
	return (wait + time.Second - 1).Truncate(time.Second) // who comes too early has to come again
}
