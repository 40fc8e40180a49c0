// Package exchange sends the HTTP requests of a bucket's client: it ends those whose peer
// is silent, tells a trace of each, remembers the last answer of a call as it came, and
// says what a failure means without repeating what may be secret.
//
// # Errors
//
// Silence matches [os.ErrDeadlineExceeded]. [Failure] maps statuses to what package
// blob promises.
//
// A Transport and a Call are safe for concurrent use.
package exchange

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Request is one HTTP request that was sent.
type Request struct {
	Op       string        // get, stat, list, put or delete
	Status   int           // of HTTP, 0 if there was no answer
	Retry    bool          // whether it follows a failure in the same call
	Sent     int64         // bytes of the body that were sent
	Received int64         // bytes of the body that were received
	Wait     time.Duration // until the header of the answer
	Duration time.Duration // until the end of the answer
	Err      error         // why there was no answer, or no whole one
}

// Call is one call of a store: what its requests have in common, and the last answer.
type Call struct {
	op   string
	user context.Context // ends the call, also where requests have another context

	mu       sync.Mutex
	requests int
	failures int
	status   int
	header   http.Header
	// sealed stops the provider's kit from sending more: it would resume a body
	// without our conditions and bounds.
	sealed bool
	broke  error // what ended the last body early
}

type callKey struct{}

// With returns a context for the requests of a call.
func With(ctx context.Context, op string) (context.Context, *Call) {
	c := &Call{op: op, user: ctx}
	return context.WithValue(ctx, callKey{}, c), c
}

// ErrSealed stops the provider's kit from sending what we do not want.
var ErrSealed = errors.New("the answer is being read")

// begin counts a request, and tells whether it is a repetition.
func (c *Call) begin(tidies bool) (retry bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.user.Err() != nil && !tidies {
		return false, context.Cause(c.user)
	}
	if c.sealed {
		return false, errors.Join(ErrSealed, c.broke)
	}
	c.requests++
	return c.failures > 0, nil
}

func (c *Call) answered(resp *http.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if resp == nil {
		c.failures++
		c.status, c.header = 0, nil
		return
	}
	if resp.StatusCode >= 400 {
		c.failures++
	}
	c.status, c.header = resp.StatusCode, resp.Header
}

// Seal ends the requests of the call and returns the last answer: its body is read now.
func (c *Call) Seal() (status int, h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	return c.status, c.header
}

// NewTransport returns a transport that keeps connections open.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		IdleConnTimeout:       time.Minute,
		MaxIdleConnsPerHost:   64,
		DisableCompression:    true,
		ReadBufferSize:        128 << 10,
		WriteBufferSize:       64 << 10,
	}
}

// Transport sends the requests of all calls. It ends those whose peer is silent.
type Transport struct {
	Base  http.RoundTripper
	Stall time.Duration                        // how long a peer may be silent
	Trace func(ctx context.Context, r Request) // called when an answer is over; may be nil
}

// Stalled says that the store was silent. It is temporary, so that it is retried.
type Stalled struct{}

func (Stalled) Error() string   { return "no byte within the timeout" }
func (Stalled) Timeout() bool   { return true }
func (Stalled) Temporary() bool { return true }
func (Stalled) Unwrap() error   { return os.ErrDeadlineExceeded }

func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, ok := req.Context().Value(callKey{}).(*Call)
	if !ok { // the kit tidies up behind an upload that failed
		c = &Call{op: "put", user: req.Context()}
	}
	tidies := req.Method == http.MethodDelete // behind an upload that the user broke off
	retry, err := c.begin(tidies)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	x := &exchange{
		call: c, ctx: req.Context(), cancel: cancel, stall: t.Stall, trace: t.Trace,
		start: time.Now(), r: Request{Op: c.op, Retry: retry},
	}
	x.timer = time.AfterFunc(t.Stall, func() { cancel(Stalled{}) })
	x.cause = func() error { return context.Cause(ctx) }
	if !tidies {
		x.unlink = context.AfterFunc(c.user, func() { cancel(context.Cause(c.user)) })
	}
	req = req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sending{req.Body, x}
	}
	resp, err := t.Base.RoundTrip(req)
	x.r.Wait = time.Since(x.start)
	c.answered(resp)
	if err != nil {
		err = x.name(err)
		x.end(err)
		return nil, err
	}
	x.timer.Stop()
	x.r.Status = resp.StatusCode
	x.body = resp.Body
	resp.Body = x
	return resp, nil
}

// exchange is a request and its answer, whose body it is.
type exchange struct {
	call   *Call
	ctx    context.Context // of the caller, for the trace
	cause  func() error
	cancel context.CancelCauseFunc
	unlink func() bool // from the end of the user's context
	stall  time.Duration
	timer  *time.Timer
	trace  func(context.Context, Request)
	start  time.Time
	body   io.ReadCloser

	once sync.Once
	mu   sync.Mutex // guards the counters in r: a body may still be sent during the answer
	r    Request
}

func (x *exchange) Read(p []byte) (int, error) {
	x.timer.Reset(x.stall)
	n, err := x.body.Read(p)
	x.timer.Stop() // the time between two reads is the reader's
	x.mu.Lock()
	x.r.Received += int64(n)
	x.mu.Unlock()
	if err == io.EOF {
		x.end(nil)
	} else if err != nil {
		err = x.name(err)
		x.call.broken(err)
		x.end(err)
	}
	return n, err
}

func (c *Call) broken(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broke = err
}

func (x *exchange) Close() error {
	err := x.body.Close()
	x.end(nil)
	return err
}

// name tells silence from other reasons why a request was canceled.
func (x *exchange) name(err error) error {
	if s, ok := errors.AsType[Stalled](x.cause()); ok {
		return s
	}
	return err
}

func (x *exchange) end(err error) {
	x.once.Do(func() {
		x.timer.Stop()
		if x.unlink != nil {
			x.unlink()
		}
		x.cancel(nil)
		if x.trace == nil {
			return
		}
		x.mu.Lock()
		r := x.r
		x.mu.Unlock()
		r.Err, r.Duration = err, time.Since(x.start)
		x.trace(x.ctx, r)
	})
}

// sending is the body of a request. Progress puts off the timeout.
type sending struct {
	io.ReadCloser
	x *exchange
}

func (s *sending) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		s.x.timer.Reset(s.x.stall)
		s.x.mu.Lock()
		s.x.r.Sent += int64(n)
		s.x.mu.Unlock()
	}
	return n, err
}
