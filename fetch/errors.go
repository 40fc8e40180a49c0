package fetch

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/gateway"
)

// StatusError is a gateway's answer other than 200.
type StatusError struct {
	Status     int
	RetryAfter time.Duration // what the gateway asked for, or 0
	Message    string        // the beginning of its explanation; hostile text, quoted by Error
}

// Error returns the status and the gateway's explanation.
func (e *StatusError) Error() string {
	s := strings.TrimSpace(fmt.Sprintf("%d %s", e.Status, http.StatusText(e.Status)))
	if e.Message != "" {
		s += ": " + strconv.Quote(e.Message)
	}
	if e.RetryAfter > 0 {
		s += fmt.Sprintf(" (retry after %s)", e.RetryAfter)
	}
	return s
}

// Unwrap returns what the status means, or nil: the inverse of [gateway.StatusOf],
// and what other servers say that ours does not.
func (e *StatusError) Unwrap() error {
	switch e.Status {
	case http.StatusGone:
		return fs.ErrNotExist
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return fs.ErrPermission
	case http.StatusRequestedRangeNotSatisfiable:
		return block.ErrRange
	}
	return errors.Unwrap(gateway.ErrorOf(e.Status))
}

// failure is the answers of all gateways to one question. It matches what they
// mean together: one 404 does not make content absent if the next gateway could
// not be reached, and corruption outweighs both.
type failure struct {
	what string
	errs []error // one for each gateway
}

func (f *failure) Error() string {
	parts := make([]string, len(f.errs))
	for i, err := range f.errs {
		parts[i] = err.Error()
	}
	return "fetch: get " + f.what + ": " + strings.Join(parts, "; ")
}

func (f *failure) Unwrap() []error {
	if bad := filter(f.errs, integrity); len(bad) > 0 {
		return bad
	}
	if other := filter(f.errs, func(err error) bool { return !absent(err) }); len(other) > 0 {
		return other
	}
	return f.errs
}

// partial is a failure in the middle of a DAG. It is never absence, whatever its
// causes say: what is half there is broken.
type partial struct {
	what   string
	causes []error
}

func (p *partial) Error() string {
	parts := make([]string, len(p.causes))
	for i, err := range p.causes {
		parts[i] = strings.TrimPrefix(err.Error(), "fetch: ")
	}
	return fmt.Sprintf("fetch: %s: %v: %s", p.what, ErrIncomplete, strings.Join(parts, "; "))
}

func (p *partial) Unwrap() []error {
	return append(filter(p.causes, func(err error) bool { return !absent(err) }), ErrIncomplete)
}

func filter(errs []error, keep func(error) bool) []error {
	return slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return !keep(err) })
}

func absent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// integrity reports whether an answer began well and turned out to be wrong or cut.
func integrity(err error) bool {
	return errors.Is(err, digest.ErrMismatch) || errors.Is(err, ErrIncomplete) || errors.Is(err, io.ErrUnexpectedEOF)
}

// temporary reports whether the same request may succeed in a moment.
func temporary(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// blockwise reports whether a gateway that refused a CAR in this way may still
// have single blocks.
func blockwise(err error) bool {
	var status *StatusError
	if !errors.As(err, &status) {
		return errors.Is(err, errNotCAR)
	}
	switch status.Status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusUnsupportedMediaType, http.StatusInternalServerError, http.StatusNotImplemented:
		return true
	}
	return false
}

// pause returns how long to wait before the next round, and whether there is
// anything to repeat: the shortest wish of the busy gateways, else a second, two
// seconds, and so on.
func pause(errs []error, round int) (time.Duration, bool) {
	var shortest time.Duration
	found := false
	for _, err := range errs {
		if !temporary(err) {
			continue
		}
		wait := time.Second << min(round, 10)
		var status *StatusError
		if errors.As(err, &status) && status.RetryAfter > 0 {
			wait = status.RetryAfter
		}
		if !found || wait < shortest {
			shortest = wait
		}
		found = true
	}
	return shortest, found
}
