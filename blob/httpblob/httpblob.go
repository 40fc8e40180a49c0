// Package httpblob reads objects from a static HTTP server by ranged GET
// (RFC 9110 section 14).
//
// The URL of an object is the base URL, a slash and the key with its segments
// escaped; a query in the base stays behind the path. The server must tell the
// sizes of its objects. One that ignores ranges works too: the bytes before the
// range are skipped, up to a limit.
//
// # Errors
//
// As package blob says: statuses 404 and 410 match [io/fs.ErrNotExist], 416
// matches [blob.ErrRange]. A server that answers with another range than the one
// that was asked for is an error. A body that ends early gives
// [io.ErrUnexpectedEOF]. Silence longer than the timeout matches
// [os.ErrDeadlineExceeded]. No error contains the base URL, which may carry
// credentials.
//
// A Getter is safe for concurrent use.
package httpblob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashstream/hashstream/blob"
)

const (
	defaultTimeout = 30 * time.Second
	defaultSkip    = 64 << 20
)

// Options tunes a [Getter].
type Options struct {
	// Client sends the requests. Default [http.DefaultClient]. Its own timeout, if
	// it has one, bounds a whole transfer.
	Client *http.Client
	// Timeout is how long the server may be silent, before and within an answer.
	// Default 30 s.
	Timeout time.Duration
	// MaxSize is the size in bytes of the largest object that is read. Default: no limit.
	MaxSize int64
	// MaxSkip is how many bytes are skipped when a server ignores the range.
	// Default 64 MiB.
	MaxSkip int64
}

// Getter reads from an HTTP server. It implements [blob.Getter], [blob.Conditional] and
// [blob.Stater].
type Getter struct {
	base    url.URL
	client  http.Client
	options Options
}

var (
	_ blob.Getter      = (*Getter)(nil)
	_ blob.Conditional = (*Getter)(nil)
	_ blob.Stater      = (*Getter)(nil)
)

// New returns a getter of the objects below base, an http or https URL. A user and
// a password in base become HTTP basic authentication.
func New(base string, o *Options) (*Getter, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		// What url.Parse says may quote a password.
		return nil, fmt.Errorf("httpblob: the base is no http or https URL: %w", fs.ErrInvalid)
	}
	g := &Getter{base: *u, client: *http.DefaultClient}
	if o != nil {
		g.options = *o
	}
	if g.options.Client != nil {
		g.client = *g.options.Client
	}
	if g.options.Timeout <= 0 {
		g.options.Timeout = defaultTimeout
	}
	if g.options.MaxSkip <= 0 {
		g.options.MaxSkip = defaultSkip
	}
	g.client.CheckRedirect = dropReferer(g.client.CheckRedirect)
	return g, nil
}

// dropReferer keeps a query of the base, which may be a signature, from the
// server that a redirect leads to.
func dropReferer(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		r.Header.Del("Referer")
		if next != nil {
			return next(r, via)
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}
}

// Stat describes key. Version is empty if the server tells neither an ETag nor a
// modification time.
func (g *Getter) Stat(ctx context.Context, key string) (blob.Info, error) {
	i, err := g.stat(ctx, key)
	if err != nil {
		return blob.Info{}, fmt.Errorf("httpblob: stat %s: %w", key, err)
	}
	return i, nil
}

func (g *Getter) stat(ctx context.Context, key string) (blob.Info, error) {
	x, err := g.do(ctx, http.MethodHead, key, nil)
	if err != nil {
		return blob.Info{}, err
	}
	defer x.close()
	switch x.resp.StatusCode {
	case http.StatusOK:
		return g.info(key, x.resp, x.resp.ContentLength)
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		o, err := g.get(ctx, key, "", 0, 1)
		if err != nil {
			return blob.Info{}, err
		}
		defer o.Close()
		return o.Info(), nil
	}
	return blob.Info{}, status(x.resp)
}

// exchange is a request and its answer. Its timer ends it when the server is silent.
type exchange struct {
	resp    *http.Response
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	timeout time.Duration
	ctx     context.Context // of this one exchange, for its cause
}

func (g *Getter) do(ctx context.Context, method, key string, header http.Header) (*exchange, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, method, g.url(key), nil)
	if err != nil {
		cancel(nil)
		return nil, fs.ErrInvalid
	}
	maps.Copy(req.Header, header)
	// Ranges and sizes are those of the stored bytes.
	req.Header.Set("Accept-Encoding", "identity")
	x := &exchange{cancel: cancel, timeout: g.options.Timeout, ctx: ctx}
	x.timer = time.AfterFunc(x.timeout, func() { cancel(os.ErrDeadlineExceeded) })
	if x.resp, err = g.client.Do(req); err != nil {
		err = x.cause(err)
		x.close()
		return nil, err
	}
	x.timer.Stop()
	if e := x.resp.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		x.close()
		return nil, fmt.Errorf("the server sent content encoding %q unasked", e)
	}
	return x, nil
}

func (g *Getter) url(key string) string {
	u := g.base
	segments := strings.Split(key, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	u.RawPath = strings.TrimSuffix(g.base.EscapedPath(), "/") + "/" + strings.Join(segments, "/")
	u.Path = strings.TrimSuffix(g.base.Path, "/") + "/" + key
	u.Fragment = ""
	return u.String()
}

// cause drops the URL that net/http puts into its errors and prefers the reason
// why the exchange was ended.
func (x *exchange) cause(err error) error {
	if c := context.Cause(x.ctx); c != nil {
		return c
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		return ue.Err
	}
	return err
}

func (x *exchange) close() error {
	var err error
	if x.resp != nil {
		err = x.resp.Body.Close()
	}
	x.timer.Stop()
	x.cancel(nil)
	return err
}

func status(r *http.Response) error {
	switch r.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fs.ErrNotExist
	case http.StatusRequestedRangeNotSatisfiable:
		return blob.ErrRange
	case http.StatusPreconditionFailed:
		return blob.ErrChanged
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("status %d: %w", r.StatusCode, fs.ErrPermission)
	}
	return fmt.Errorf("status %d", r.StatusCode)
}
