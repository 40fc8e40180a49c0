package exchange

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

// Failure is an answer that says no, or what prevented one.
type Failure struct {
	Status int    // of HTTP, 0 if there was no answer
	Code   string // of the provider, such as AccessDenied

	attempts int // if there were several
	hint     string
	cause    error // what errors.Is finds, may be nil
}

// Explain says why c failed with err, the error of a provider's kit, which contains the given
// status and code, or 0 and "". The text of err is not used where there is a status: it is
// long, and may quote URLs.
func (c *Call) Explain(status int, code string, err error) *Failure {
	c.mu.Lock()
	header, requests := c.header, c.requests
	if status == 0 && c.op != "put" { // parts of an upload have several answers
		status = c.status
	}
	c.mu.Unlock()
	if !codePattern.MatchString(code) || code == "UnknownError" {
		code = ""
	}
	f := &Failure{Status: status, Code: code}
	switch {
	case c.user.Err() != nil:
		return &Failure{cause: context.Cause(c.user)}
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		f = &Failure{cause: Cause(err)}
	case status >= 300:
		f.judge(header)
	case requests == 0:
		f.cause, f.hint = Cause(err), "no request was sent; are there credentials?"
	default:
		f.cause = Cause(err)
	}
	if requests > 1 {
		f.attempts = requests
	}
	return f
}

// Absent reports whether an object is absent, and not its whole bucket.
func (f *Failure) Absent() bool { return f.cause == fs.ErrNotExist && f.Code != "NoSuchBucket" }

func (f *Failure) Unwrap() error { return f.cause }

func (f *Failure) Error() string {
	var b strings.Builder
	switch {
	case f.Status >= 300:
		fmt.Fprintf(&b, "status %d %s", f.Status, http.StatusText(f.Status))
		if f.Code != "" {
			fmt.Fprintf(&b, " (%s)", f.Code)
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
func (f *Failure) judge(h http.Header) {
	region := h.Get("X-Amz-Bucket-Region")
	switch {
	case f.Code == "RequestTimeTooSkewed" || f.Code == "RequestExpired" || f.Code == "RequestNotYetValid":
		f.cause, f.hint = fs.ErrPermission, "the clock here and that of the store differ too much"
	case f.Status == http.StatusMovedPermanently, f.Code == "AuthorizationHeaderMalformed", f.Code == "PermanentRedirect":
		f.hint = "the bucket is in another region: set region and endpoint"
		if region != "" {
			f.hint = fmt.Sprintf("the bucket is in region %.30q", region)
		}
	case f.Code == "NoSuchBucket":
		f.cause, f.hint = fs.ErrNotExist, "there is no such bucket"
	case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden:
		f.cause, f.hint = fs.ErrPermission, "check the credentials and what they permit; without permission to list, absent objects look like this"
	case f.Status == http.StatusNotFound || f.Status == http.StatusGone:
		f.cause = fs.ErrNotExist
	case f.Status == http.StatusPreconditionFailed:
		f.cause = blob.ErrChanged
	case f.Status == http.StatusTooManyRequests || f.Status == http.StatusServiceUnavailable:
		f.hint = "the store is overloaded or limits the rate"
	}
}

// Broke reports whether c failed with err because a good answer broke off.
func (c *Call) Broke(err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status == http.StatusOK && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, syscall.ECONNRESET))
}

var codePattern = regexp.MustCompile(`^[A-Za-z0-9.]{1,60}$`)

// Cause reduces an error of the network or of a kit to what may be shown, and what
// errors.Is may find.
func Cause(err error) error {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded, io.ErrUnexpectedEOF, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	if s, ok := errors.AsType[Stalled](err); ok {
		return s
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return os.ErrDeadlineExceeded
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Errorf("no address of the host: %s", e.Err)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		return errors.New(Scrub(e.Err.Error()))
	}
	return errors.New(Scrub(err.Error()))
}

var (
	queries = regexp.MustCompile(`\?[^\s"'<>]*`)
	users   = regexp.MustCompile(`//[^\s/"'<>]*@`)
)

// Scrub makes one line of a foreign text and takes out of it what may be a secret.
func Scrub(s string) string {
	s = strings.Join(strings.Fields(s[:min(len(s), 4096)]), " ")
	for before := ""; s != before; { // what is taken out may bring two parts of another together
		before = s
		s = users.ReplaceAllString(s, "//")
		s = queries.ReplaceAllString(s, "")
	}
	s = strings.Join(strings.Fields(s), " ")
	return strings.TrimRight(s[:min(len(s), 500)], " ")
}
