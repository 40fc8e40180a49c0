package routinghttp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/retryafter"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// Defaults and fixed limits of a [Client].
const (
	defaultClientTimeout = 30 * time.Second
	defaultRetries       = 2
	defaultLine          = 1 << 20
	defaultAnswer        = 16 << 20
	firstPause           = 100 * time.Millisecond
	lastPause            = 2 * time.Second
	maxWait              = 10 * time.Second // that a server may ask for; who asks for more is not asked again
	maxReason            = 256              // bytes of an explanation that are kept
	maxRedirects         = 3
	firstLine            = 4 << 10

	wantLines = typeLines + ", " + typeJSON + ";q=0.9"
)

// ClientOptions adjusts a [Client]. A nil ClientOptions or a zero field means the default.
type ClientOptions struct {
	Transport http.RoundTripper // default: [http.DefaultTransport]
	Header    http.Header       // sent with each request, such as User-Agent; default none
	Timeout   time.Duration     // of a lookup, with all of its answer; default 30 s, negative means none
	Retries   int               // further attempts after one that may succeed later; default 2, negative means none
	MaxLine   int               // bytes of a line, beyond it an error; default 1 MiB
	MaxAnswer int64             // bytes of an answer, beyond it an error; default 16 MiB
	Filter    filter.Filter     // asked of the server, and applied where the server has none; default none
}

// Client asks a server of the protocol. Nothing that it returns is verified: providers are, by
// what is retrieved from them.
type Client struct {
	base   string
	name   string // base without credentials
	http   http.Client
	o      ClientOptions
	choose *filter.Chooser
}

var _ ipni.Finder = (*Client)(nil)

// NewClient returns a client of the server at base: http or https, with an optional path
// before /routing/v1, which may be left out, and user:password@ for basic authentication. It
// does not touch the network.
func NewClient(base string, o *ClientOptions) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		// What url.Parse says may quote a password.
		return nil, fmt.Errorf("routinghttp: the address of a router is an http or https URL: %w", fs.ErrInvalid)
	}
	u.RawQuery, u.Fragment, u.RawPath = "", "", ""
	u.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), strings.TrimSuffix(prefix, "/"))
	c := &Client{base: u.String()}
	if o != nil {
		c.o = *o
	}
	u.User = nil
	c.name = u.String()
	set(&c.o.Timeout, defaultClientTimeout)
	set(&c.o.Retries, defaultRetries)
	set(&c.o.MaxLine, defaultLine)
	set(&c.o.MaxAnswer, defaultAnswer)
	c.choose = c.o.Filter.Chooser()
	c.http = http.Client{Transport: c.o.Transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || r.URL.Host != via[0].URL.Host { // who redirects elsewhere is not asked to be trusted
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return c, nil
}

// Name returns the URL of the server, without credentials.
func (c *Client) Name() string { return c.name }

// Error is an answer that is neither records nor their absence.
type Error struct {
	Status     int
	Reason     string        // by the server, at most 256 bytes of ASCII
	RetryAfter time.Duration // as the server wishes; 0 if it does not say
}

// Error implements error.
func (e *Error) Error() string {
	text := "status " + strconv.Itoa(e.Status)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	return text
}

// Is reports whether the status tells what target is.
func (e *Error) Is(target error) bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return target == fs.ErrInvalid
	case http.StatusGatewayTimeout:
		return target == context.DeadlineExceeded
	}
	return false
}

// Find yields the providers of mh, as they come in. None is no error. Results have no context
// id, and no metadata if the server tells no protocol whose metadata are known.
func (c *Client) Find(ctx context.Context, mh multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		if c.o.Timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, c.o.Timeout)
			defer cancel()
		}
		id := cid.NewCidV1(cid.Raw, mh)
		for res, err := range c.find(ctx, id) {
			if err != nil {
				yield(ipni.Result{}, fmt.Errorf("routinghttp: find %s at %s: %w", id, c.name, cause(ctx, err)))
				return
			}
			if !yield(res, nil) {
				return
			}
		}
	}
}

// cause returns what an error comes from, without URLs, which may hold credentials.
func cause(ctx context.Context, err error) error {
	var u *url.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &u):
		return u.Err
	}
	return err
}

func (c *Client) find(ctx context.Context, id cid.Cid) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		res, err := c.ask(ctx, id)
		if err != nil {
			yield(ipni.Result{}, err)
			return
		}
		defer res.Body.Close()
		if res.StatusCode == http.StatusNotFound { // of servers from before IPIP-513
			return
		}
		media, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if err != nil {
			yield(ipni.Result{}, fmt.Errorf("an answer of no type: %w", digest.ErrMismatch))
			return
		}
		for raw, err := range rawRecords(&bounded{res.Body, c.o.MaxAnswer}, media, c.o.MaxLine) {
			var told []ipni.Result
			if err == nil {
				told, err = decode(raw, c.choose)
			}
			if err != nil {
				yield(ipni.Result{}, err)
				return
			}
			for _, r := range told {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// ask sends a request until the server answers with records, with absence, or for good.
func (c *Client) ask(ctx context.Context, id cid.Cid) (*http.Response, error) {
	if c.o.Retries < 0 {
		return c.try(ctx, id)
	}
	policy := retrypolicy.NewBuilder[*http.Response]().
		HandleIf(func(_ *http.Response, err error) bool {
			return err != nil && ctx.Err() == nil && temporary(err) && inTime(ctx, err)
		}).
		WithMaxRetries(c.o.Retries).
		WithDelayFunc(pause). // no jitter of the policy's, which would also come earlier than it was asked to
		ReturnLastFailure()
	return failsafe.With(policy.Build()).WithContext(ctx).Get(func() (*http.Response, error) { return c.try(ctx, id) })
}

// temporary reports whether what failed may succeed later.
func temporary(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return true // no answer
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable:
		return true
	}
	return false
}

// asked returns how long a busy server asked to wait; 0 if it did not.
func asked(err error) time.Duration {
	var answer *Error
	if errors.As(err, &answer) {
		return answer.RetryAfter
	}
	return 0
}

// inTime reports whether what a busy server asked for is no longer than is waited here.
func inTime(ctx context.Context, err error) bool {
	wait := asked(err)
	end, ok := ctx.Deadline()
	return wait <= maxWait && (!ok || wait < time.Until(end))
}

// pause is what a busy server asked for, or what doubles with each attempt. It is spread, so
// that those who failed together do not come back together; never to before what was asked for.
func pause(e failsafe.ExecutionAttempt[*http.Response]) time.Duration {
	if wait := asked(e.LastError()); wait > 0 {
		return wait + rand.N(wait/4)
	}
	d := min(firstPause<<min(e.Retries(), 10), lastPause)
	return d/2 + rand.N(d)
}

// try sends a request once.
func (c *Client) try(ctx context.Context, id cid.Cid) (*http.Response, error) {
	target := c.base + providers + id.String()
	if q := c.o.Filter.Query(); q != "" {
		target += "?" + q
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	for name, values := range c.o.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	req.Header.Set("Accept", wantLines)
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusOK || res.StatusCode == http.StatusNotFound {
		return res, nil
	}
	defer res.Body.Close()
	return nil, refused(res)
}

// refused reads an answer without records.
func refused(res *http.Response) *Error {
	e := &Error{Status: res.StatusCode, RetryAfter: retryafter.Parse(res.Header.Get("Retry-After"))}
	b, _ := io.ReadAll(io.LimitReader(res.Body, maxReason)) // what there is of it
	e.Reason = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, string(b)))
	return e
}
