package cloudblob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"

	"github.com/hashstream/hashstream/blob"
)

// check is what every call does first.
func check(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return blob.CheckKey(key)
}

// fail describes why a call failed. The text of the provider's kit is not used where
// there is a status: it is long, and may quote URLs.
func (s *Store) fail(verb, key string, c *call, err error) error {
	c.mu.Lock()
	status, header, requests := c.status, c.header, c.requests
	c.mu.Unlock()
	f := failure{status: status, code: code(err)}
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		f = failure{cause: cause(err)}
	case status >= 300:
		f.judge(header)
	case requests == 0:
		f.cause, f.hint = cause(err), "no request was sent; are there credentials?"
	default:
		f.cause = cause(err)
	}
	if requests > 1 {
		f.attempts = requests
	}
	return fmt.Errorf("cloudblob: %s %s%s%s: %w", verb, s.name, s.prefix, key, &f)
}

// failure is an answer that says no, or what prevented one.
type failure struct {
	status   int
	code     string // of the provider, such as AccessDenied
	attempts int    // if there were several
	hint     string
	cause    error // what errors.Is finds, may be nil
}

func (f *failure) Unwrap() error { return f.cause }

func (f *failure) Error() string {
	var b strings.Builder
	switch {
	case f.status >= 300:
		fmt.Fprintf(&b, "status %d %s", f.status, http.StatusText(f.status))
		if f.code != "" {
			fmt.Fprintf(&b, " (%s)", f.code)
		}
	case f.cause != nil:
		b.WriteString(f.cause.Error())
	}
	if f.attempts > 0 {
		fmt.Fprintf(&b, " after %d requests", f.attempts)
	}
	if f.hint != "" {
		b.WriteString("; " + f.hint)
	}
	return b.String()
}

// judge says what a status means.
func (f *failure) judge(h http.Header) {
	region := h.Get("X-Amz-Bucket-Region")
	switch {
	case f.code == "RequestTimeTooSkewed" || f.code == "RequestExpired" || f.code == "RequestNotYetValid":
		f.cause, f.hint = fs.ErrPermission, "the clock here and that of the store differ too much"
	case f.status == http.StatusMovedPermanently, f.code == "AuthorizationHeaderMalformed", f.code == "PermanentRedirect":
		f.hint = "the bucket is in another region: set region and endpoint"
		if region != "" {
			f.hint = fmt.Sprintf("the bucket is in region %.30q", region)
		}
	case f.code == "NoSuchBucket":
		f.cause, f.hint = fs.ErrNotExist, "there is no such bucket"
	case f.status == http.StatusUnauthorized || f.status == http.StatusForbidden:
		f.cause, f.hint = fs.ErrPermission, "check the credentials and what they permit; without permission to list, absent objects look like this"
	case f.status == http.StatusNotFound || f.status == http.StatusGone:
		f.cause = fs.ErrNotExist
	case f.status == http.StatusPreconditionFailed:
		f.cause = blob.ErrChanged
	case f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable:
		f.hint = "the store is overloaded or limits the rate"
	}
}

var codePattern = regexp.MustCompile(`^[A-Za-z0-9.]{1,60}$`)

// cause reduces an error of the network or of a kit to what may be shown, and what
// errors.Is may find.
func cause(err error) error {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	if s, ok := errors.AsType[stallError](err); ok {
		return s
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("no address of the host: %s", e.Err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return errors.New(scrub(e.Err.Error()))
	}
	return errors.New(scrub(err.Error()))
}

var (
	queries = regexp.MustCompile(`\?[^\s"'<>]*`)
	users   = regexp.MustCompile(`//[^\s/"'<>]*@`)
)

// scrub makes one line of a foreign text and takes out of it what may be a secret.
func scrub(s string) string {
	s = users.ReplaceAllString(s, "//")
	s = queries.ReplaceAllString(s, "")
	s = strings.Join(strings.Fields(s), " ")
	return s[:min(len(s), 500)]
}
