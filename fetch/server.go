package fetch

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hashstream/hashstream/retryafter"
)

const (
	mediaCAR = "application/vnd.ipld.car"
	mediaRaw = "application/vnd.ipld.raw"

	maxRedirects = 5
	maxMessage   = 200 // bytes of a gateway's explanation that are kept
)

var errNotCAR = errors.New("the answer is no usable CAR")

// server is one gateway's address.
type server struct {
	base *url.URL // without credentials, without a trailing slash
	auth string   // the Authorization header, or empty
}

func parseGateway(s string) (*server, error) {
	u, err := url.Parse(s)
	if err != nil {
		// The error of net/url repeats its input, which may hold a password.
		return nil, errors.New("fetch: a gateway's URL is malformed, want http(s)://HOST[:PORT][/PREFIX]")
	}
	auth := ""
	if u.User != nil {
		password, _ := u.User.Password()
		auth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
		u.User = nil
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("fetch: gateway %q: want http(s)://HOST[:PORT][/PREFIX]", u)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("fetch: gateway %q: a query or fragment has no place here", u)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/ipfs"), "/")
	base := &url.URL{Scheme: u.Scheme, Host: u.Host}
	return &server{base: base.JoinPath(path), auth: auth}, nil
}

// String returns the URL without credentials.
func (g *server) String() string { return strings.TrimSuffix(g.base.String(), "/") }

// checkRedirect bounds redirects and keeps credentials at home. net/http alone
// would hand them to subdomains.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	from := via[len(via)-1].URL
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirect to scheme %q", req.URL.Scheme)
	}
	if from.Scheme == "https" && req.URL.Scheme == "http" {
		return errors.New("redirect from https to http")
	}
	req.URL.User = nil
	req.Header.Del("Referer")
	for _, r := range append(via, req) {
		if r.URL.Host != via[0].URL.Host || r.URL.Scheme != via[0].URL.Scheme {
			req.Header.Del("Authorization")
			req.Header.Del("Cookie")
		}
	}
	return nil
}

// get asks g for a path below its base and returns the body of a 200. The body
// ends with an error when the gateway falls silent; it must be closed.
func (c *Client) get(ctx context.Context, g *server, path string, query url.Values, accept string) (*body, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	u := *g.base
	target := strings.TrimSuffix(u.String(), "/") + path + "?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", c.o.UserAgent)
	if g.auth != "" {
		req.Header.Set("Authorization", g.auth)
	}
	c.o.Trace.Request(g.String(), target)
	stalled := time.AfterFunc(c.o.HeaderTimeout, func() { cancel(fmt.Errorf("%w: no header after %s", ErrStalled, c.o.HeaderTimeout)) })
	resp, err := c.http.Do(req)
	stalled.Stop()
	if err != nil {
		err = requestError(ctx, err)
		cancel(nil)
		return nil, err
	}
	b := newBody(resp, cancel, func() error { return context.Cause(ctx) }, c.o)
	if resp.StatusCode != http.StatusOK {
		err := statusError(resp.StatusCode, resp.Header, b)
		b.Close()
		return nil, err
	}
	return b, nil
}

// requestError drops the URL that net/http puts in front of a cause, and prefers
// the reason why the request was cancelled.
func requestError(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

func statusError(status int, header http.Header, r io.Reader) *StatusError {
	e := &StatusError{Status: status, RetryAfter: retryafter.Parse(header.Get("Retry-After"))}
	kind, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	if kind == "text/plain" {
		text, _ := io.ReadAll(io.LimitReader(r, maxMessage))
		e.Message = strings.ToValidUTF8(strings.TrimSpace(string(text)), "")
	}
	return e
}

// body is a response body that cannot stand still forever.
type body struct {
	io.ReadCloser
	size   int64 // as announced, or -1
	kind   string
	cancel context.CancelCauseFunc
	cause  func() error
	idle   *time.Timer // runs only while a Read waits: a slow consumer is no fault of the gateway
	o      Options
}

func newBody(resp *http.Response, cancel context.CancelCauseFunc, cause func() error, o Options) *body {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	b := &body{ReadCloser: resp.Body, size: resp.ContentLength, kind: kind, cancel: cancel, cause: cause, o: o}
	b.idle = b.limit(o.IdleTimeout)
	b.idle.Stop()
	return b
}

// limit starts a timer that ends the body with ErrStalled.
func (b *body) limit(d time.Duration) *time.Timer {
	return time.AfterFunc(d, func() { b.cancel(fmt.Errorf("%w for %s", ErrStalled, d)) })
}

// Read reads as the response body does, with the reason of a cancellation for an error.
func (b *body) Read(p []byte) (int, error) {
	b.idle.Reset(b.o.IdleTimeout)
	n, err := b.ReadCloser.Read(p)
	b.idle.Stop()
	if n > 0 {
		b.o.Trace.Bytes(n)
	}
	if err != nil && err != io.EOF {
		// Whatever ends a body that began with 200, its content is not whole.
		if cause := b.cause(); cause != nil {
			return n, cause
		}
		return n, cut{err}
	}
	return n, err
}

// cut is how a body fails. It matches ErrIncomplete without its words, which are
// for the end of the story.
type cut struct{ cause error }

func (c cut) Error() string   { return "cut off: " + c.cause.Error() }
func (c cut) Unwrap() []error { return []error{ErrIncomplete, c.cause} }

// Close abandons what was not read.
func (b *body) Close() error {
	b.idle.Stop()
	b.cancel(nil)
	return b.ReadCloser.Close()
}
