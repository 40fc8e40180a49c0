package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/digest"
)

// ErrBusy matches the answers 429 and 503: the gateway asks to come back later.
var ErrBusy = errors.New("the gateway is busy")

// Error is an answer other than success. On the server it carries the sentence
// that is sent; on a client, [ErrorOf] makes it from a status.
type Error struct {
	Status int    // HTTP status code
	Reason string // one sentence for people; empty means the status' own text

	header, value string // one more header that the answer needs
}

// Error returns the reason, or the standard text of the status.
func (e *Error) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return fmt.Sprintf("gateway answered %d %s", e.Status, http.StatusText(e.Status))
}

// Unwrap returns what the status means in the vocabulary of packages block,
// digest and io/fs, or nil.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusNotFound, http.StatusPreconditionFailed:
		return fs.ErrNotExist
	case http.StatusNotImplemented:
		return block.ErrNotLink
	case http.StatusNotAcceptable:
		return block.ErrEncoding
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrBusy
	case http.StatusGatewayTimeout:
		return context.DeadlineExceeded
	}
	return nil
}

// StatusOf returns the HTTP status for err. nil is 200, and what has no status
// of its own is 500.
func StatusOf(err error) int {
	var e *Error
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e):
		return e.Status
	case errors.Is(err, digest.ErrMismatch), errors.Is(err, block.ErrTooLarge):
		return http.StatusInternalServerError
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	case errors.Is(err, block.ErrNotLink):
		return http.StatusNotImplemented
	case errors.Is(err, block.ErrEncoding):
		return http.StatusNotAcceptable
	case errors.Is(err, block.ErrRange), errors.Is(err, digest.ErrInvalid), errors.Is(err, digest.ErrUnsupported):
		return http.StatusBadRequest
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// ErrorOf returns the error that a client reports for a status: nil for a
// success (2xx) and 304, else an [*Error]. It is the inverse of [StatusOf]: what it
// returns has that status again, and matches what StatusOf mapped where one
// status means one thing.
func ErrorOf(status int) error {
	if status >= 200 && status < 300 || status == http.StatusNotModified {
		return nil
	}
	return &Error{Status: status}
}

// refuse makes an answer to a request that asks for something impossible.
func refuse(status int, format string, args ...any) error {
	return &Error{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// sentence is what a client is told about err. Faults of the server are not
// explained to strangers.
func sentence(status int, err error, path string) string {
	var e *Error
	if errors.As(err, &e) && e.Reason != "" {
		return e.Reason
	}
	switch status {
	case http.StatusBadRequest:
		return "Bad request: " + err.Error() + "."
	case http.StatusNotFound:
		return "Not found: this gateway does not have " + path + "."
	case http.StatusPreconditionFailed:
		return "Precondition failed: this gateway does not have " + path + "."
	case http.StatusNotImplemented:
		return "Not implemented: " + path + " continues into content that has no links."
	case http.StatusNotAcceptable:
		return "Not acceptable: this content cannot be had in this form; a large blob is asked for by ?format=raw or ?format=bao."
	case http.StatusGatewayTimeout:
		return "Timeout: the content could not be found in time; try again later."
	case http.StatusServiceUnavailable:
		return "Unavailable: the gateway cannot answer now; try again later."
	}
	return "Internal error: the gateway failed to read this content; the fault is not yours."
}
