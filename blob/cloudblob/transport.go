package cloudblob

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Trace is told what a [Store] does. Each hook may be nil, and is called by several
// goroutines.
type Trace struct {
	// Request is called when the answer to an HTTP request is over: its body read to
	// the end or closed. The context has the values of the caller's.
	Request func(ctx context.Context, r Request)
	// Skipped is called for each object whose key is not well formed, with its
	// complete name, when a listing leaves it out.
	Skipped func(ctx context.Context, name string)
}

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

// call is one call of a Store: what its requests have in common, and the last answer.
type call struct {
	op string

	mu       sync.Mutex
	requests int
	failures int
	status   int
	header   http.Header
	// sealed stops the provider's kit from sending more: it would resume a body
	// without our conditions and bounds.
	sealed bool
}

type callKey struct{}

func withCall(ctx context.Context, op string) (context.Context, *call) {
	c := &call{op: op}
	return context.WithValue(ctx, callKey{}, c), c
}

var errSealed = errors.New("the answer is being read")

// begin counts a request, and tells whether it is a repetition.
func (c *call) begin() (retry bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sealed {
		return false, errSealed
	}
	c.requests++
	return c.failures > 0, nil
}

func (c *call) answered(resp *http.Response) {
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

// seal ends the requests of the call and returns the last answer.
func (c *call) seal() (status int, h http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealed = true
	return c.status, c.header
}

func newTransport() *http.Transport {
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

// transport sends the requests of all calls. It ends those whose peer is silent.
type transport struct {
	base  http.RoundTripper
	stall time.Duration
	trace *Trace
}

// stallError says that the store was silent. It is temporary, so that it is retried.
type stallError struct{}

func (stallError) Error() string   { return "no byte within the timeout" }
func (stallError) Timeout() bool   { return true }
func (stallError) Temporary() bool { return true }
func (stallError) Unwrap() error   { return os.ErrDeadlineExceeded }

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	c, ok := req.Context().Value(callKey{}).(*call)
	if !ok { // the kit tidies up behind an upload that failed
		c = &call{op: "put"}
	}
	retry, err := c.begin()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	x := &exchange{
		ctx: req.Context(), cancel: cancel, stall: t.stall, trace: t.trace.Request,
		start: time.Now(), r: Request{Op: c.op, Retry: retry},
	}
	x.timer = time.AfterFunc(t.stall, func() { cancel(stallError{}) })
	x.cause = func() error { return context.Cause(ctx) }
	req = req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sending{req.Body, x}
	}
	resp, err := t.base.RoundTrip(req)
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
	ctx    context.Context // of the caller, for the trace
	cause  func() error
	cancel context.CancelCauseFunc
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
		x.end(err)
	}
	return n, err
}

func (x *exchange) Close() error {
	err := x.body.Close()
	x.end(nil)
	return err
}

// name tells silence from other reasons why a request was canceled.
func (x *exchange) name(err error) error {
	if s, ok := errors.AsType[stallError](x.cause()); ok {
		return s
	}
	return err
}

func (x *exchange) end(err error) {
	x.once.Do(func() {
		x.timer.Stop()
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

// pause is how long to wait before repetition i, from 0.
func (o *Options) pause(i int) time.Duration {
	limit := min(o.Backoff<<min(i, 10), max(o.Backoff, maxPause))
	return rand.N(limit) + 1
}

// wait pauses before repetition i.
func (o *Options) wait(ctx context.Context, i int) error {
	t := time.NewTimer(o.pause(i))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
