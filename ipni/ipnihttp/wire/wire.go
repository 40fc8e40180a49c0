// Package wire is what all protocols of a provider index over HTTP have in common:
// what statuses mean, how a failure is answered, and requests that are repeated.
//
// # Errors
//
// [StatusOf] maps errors to statuses, and [ErrorOf] maps them back for clients.
// Absence matches [io/fs.ErrNotExist], what may be there but cannot be asked for now
// [ErrBusy] or [context.DeadlineExceeded], and an answer that is malformed
// [digest.ErrMismatch].
//
// Everything is safe for concurrent use.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"

	"github.com/hashstream/hashstream/digest"
)

// ErrBusy matches the answers 429 and 503: come back later.
var ErrBusy = errors.New("the index is busy")

// Error is an answer other than success. On a server it carries the sentence that
// is sent; on a client, what was received.
type Error struct {
	Status     int           // HTTP status code
	Reason     string        // one sentence for people; empty means the status' own text
	RetryAfter time.Duration // what the server asks to wait, or 0

	remote bool // received; what another server said is not what this one says
}

// Error returns the reason, or the standard text of the status.
func (e *Error) Error() string {
	if e.Reason != "" {
		return e.Reason
	}
	return fmt.Sprintf("the index answered %d %s", e.Status, http.StatusText(e.Status))
}

// Unwrap returns what the status means, or nil.
func (e *Error) Unwrap() error {
	switch e.Status {
	case http.StatusNotFound, http.StatusGone:
		return fs.ErrNotExist
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusUnavailableForLegalReasons:
		return fs.ErrPermission
	case http.StatusConflict:
		return fs.ErrExist
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return fs.ErrInvalid
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return ErrBusy
	case http.StatusNotImplemented:
		return errors.ErrUnsupported
	case http.StatusGatewayTimeout:
		return context.DeadlineExceeded
	}
	return nil
}

// Refuse makes an answer to a request that cannot be served as it is.
func Refuse(status int, format string, args ...any) error {
	return &Error{Status: status, Reason: fmt.Sprintf(format, args...)}
}

// StatusOf returns the HTTP status for err. nil is 200, and what has no status of its
// own is 500. An error that is more than absence is not 404, and what another server
// answered is 404, 503, 504 or 502. What this machine's files and system calls say concerns no
// request, whatever it matches: it is 507 if there is no room, or else 500.
func StatusOf(err error) int {
	var e *Error
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e) && !e.remote:
		return e.Status
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, digest.ErrMismatch):
		return http.StatusBadGateway
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled), errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	case e != nil && !errors.Is(err, fs.ErrNotExist):
		return http.StatusBadGateway
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return http.StatusInsufficientStorage
	case ofSystem(err):
		return http.StatusInternalServerError
	case errors.Is(err, fs.ErrPermission):
		return http.StatusForbidden
	case errors.Is(err, errors.ErrUnsupported):
		return http.StatusNotImplemented
	case errors.Is(err, fs.ErrExist):
		return http.StatusConflict
	case errors.Is(err, fs.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, fs.ErrNotExist):
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// ofSystem reports whether err came from a file or a system call.
func ofSystem(err error) bool {
	return is[syscall.Errno](err) || is[*fs.PathError](err) || is[*os.LinkError](err) || is[*os.SyscallError](err)
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// LookupStatus is [StatusOf] for an error of a lookup in which absence is no error: 504 if
// time was short anywhere, 503 if this server is busy or ends, and 502 for every other failure
// behind it, whatever the cause says. It is never a 404: nobody may take a failure for absence, or
// keep it. Only what this server refuses keeps its status.
func LookupStatus(err error) int {
	var e *Error
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &e) && !e.remote:
		if e.Status != http.StatusNotFound && e.Status != http.StatusGone && e.Status != http.StatusInternalServerError {
			return e.Status
		}
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusGatewayTimeout
	case errors.Is(err, context.Canceled), e == nil && errors.Is(err, ErrBusy):
		return http.StatusServiceUnavailable
	}
	return http.StatusBadGateway
}

// ErrorOf returns the error that a client reports for a status: nil for a success
// (2xx), else an [*Error]. It is the inverse of [StatusOf]: what it returns has that
// status again, and matches what StatusOf mapped where a status means one thing.
func ErrorOf(status int) error {
	if status >= 200 && status < 300 {
		return nil
	}
	return &Error{Status: status}
}

// defaultRetry is what a busy server asks a client to wait.
const defaultRetry = time.Second

// WriteError answers with status. Faults of the server are not explained to
// strangers, but logged; nothing of it is to be kept by caches.
func WriteError(w http.ResponseWriter, r *http.Request, status int, err error, log *slog.Logger) {
	if status >= 500 && status != http.StatusNotImplemented && log != nil && r.Context().Err() == nil {
		log.LogAttrs(r.Context(), slog.LevelWarn, "request failed", slog.String("method", r.Method), slog.Int("status", status), slog.Any("error", err))
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		wait := defaultRetry
		if e := (*Error)(nil); errors.As(err, &e) && e.RetryAfter > 0 {
			wait = e.RetryAfter
		}
		h.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
	http.Error(w, sentence(status, err), status)
}

// sentence is what a client is told.
func sentence(status int, err error) string {
	if e := (*Error)(nil); errors.As(err, &e) && e.Reason != "" && !e.remote {
		return e.Reason
	}
	if status < 500 && status != http.StatusNotFound && err != nil {
		return err.Error()
	}
	return http.StatusText(status)
}

// Allow checks the method of a request. Others are answered 405, and OPTIONS, which
// asks for the methods, 204.
func Allow(w http.ResponseWriter, r *http.Request, allow string, methods ...string) bool {
	for _, m := range methods {
		if r.Method == m {
			return true
		}
	}
	w.Header().Set("Allow", allow)
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return false
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "method not allowed: "+allow, http.StatusMethodNotAllowed)
	return false
}
