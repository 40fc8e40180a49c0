package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hashstream/hashstream/retryafter"
)

// Defaults of a [Caller].
const (
	defaultTimeout  = 30 * time.Second
	defaultRetries  = 2
	defaultConns    = 64
	firstPause      = 50 * time.Millisecond
	lastPause       = 2 * time.Second
	longestRetry    = 5 * time.Second // that a busy server may ask for; who asks for more is not asked again
	maxReason       = 256             // bytes of an explanation that are kept
	maxRedirects    = 3
	handshakes      = 10 * time.Second
	idleConnections = 90 * time.Second
)

// CallerOptions adjusts a [Caller]. A nil CallerOptions or a zero field means the default.
type CallerOptions struct {
	Transport http.RoundTripper // default: one of its own, with kept connections
	Header    http.Header       // sent with each request, such as Authorization; default none
	Timeout   time.Duration     // until the head of an answer, and without a byte of its body; default 30 s, negative means none
	Retries   int               // further attempts after one that may succeed later; default 2, negative means none
}

// Caller sends requests to one server. All of them must be idempotent, for they are repeated.
type Caller struct {
	base string
	name string // base without credentials
	http *http.Client
	o    CallerOptions
	own  *http.Transport
}

// NewCaller returns a caller of the server at base: http or https, with an optional
// path prefix, and user:password@ for basic authentication. It does not touch the network.
func NewCaller(base string, o *CallerOptions) (*Caller, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("ipnihttp: the address of an index is an http or https URL") // the text may hold a password
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path = strings.TrimSuffix(u.Path, "/")
	c := &Caller{base: u.String()}
	if o != nil {
		c.o = *o
	}
	u.User = nil
	c.name = u.String()
	if c.o.Timeout == 0 {
		c.o.Timeout = defaultTimeout
	}
	if c.o.Retries == 0 {
		c.o.Retries = defaultRetries
	}
	transport := c.o.Transport
	if transport == nil {
		c.own = &http.Transport{
			Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: defaultConns, IdleConnTimeout: idleConnections,
			TLSHandshakeTimeout: handshakes, DisableCompression: true, // what comes back is random, or small
		}
		transport = c.own
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) >= maxRedirects || r.URL.Host != via[0].URL.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return c, nil
}

// Once returns a caller that makes no further attempts. It shares the connections of c, which is the one to close.
func (c *Caller) Once() *Caller {
	once := *c
	once.o.Retries = -1
	return &once
}

// Name returns the server's URL without credentials.
func (c *Caller) Name() string { return c.name }

// Close drops idle connections.
func (c *Caller) Close() error {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// Call is a request.
type Call struct {
	Method, Path string
	Accept       string
	ContentType  string           // of Body
	Length       int64            // of Body; negative means unknown
	Body         func() io.Reader // called for each attempt; nil means none
}

// Do sends a request until the server answers with a success (2xx) whose body the
// caller closes, or fails for good or too often. What the server says otherwise is an [*Error].
func (c *Caller) Do(ctx context.Context, call Call) (*http.Response, error) {
	if c.o.Retries < 0 {
		return c.try(ctx, call)
	}
	policy := retrypolicy.NewBuilder[*http.Response]().
		HandleIf(func(_ *http.Response, err error) bool { return err != nil && ctx.Err() == nil && temporary(err) }).
		WithMaxRetries(c.o.Retries).
		WithBackoff(firstPause, lastPause).
		WithJitterFactor(0.5).
		WithDelayFunc(pause).
		ReturnLastFailure()
	res, err := failsafe.With(policy.Build()).WithContext(ctx).Get(func() (*http.Response, error) { return c.try(ctx, call) })
	if err != nil && ctx.Err() != nil && err == ctx.Err() { // it ended in a pause
		err = c.failed(call, context.Cause(ctx))
	}
	return res, err
}

// pause is what a busy server asked for; a negative one means the policy's.
func pause(e failsafe.ExecutionAttempt[*http.Response]) time.Duration {
	var answer *Error
	if errors.As(e.LastError(), &answer) && answer.RetryAfter > 0 {
		return 2 * answer.RetryAfter // of which jitter takes up to a half
	}
	return -1
}

// temporary reports whether what failed may succeed later.
func temporary(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return true // no answer
	}
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return e.RetryAfter <= longestRetry
	}
	return false
}

func (c *Caller) failed(call Call, err error) error {
	return fmt.Errorf("ipnihttp: %s %s%s: %w", strings.ToLower(call.Method), c.name, call.Path, err)
}

// try sends a request once.
func (c *Caller) try(ctx context.Context, call Call) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var body io.Reader
	if call.Body != nil {
		sent := &sentBody{r: call.Body()}
		defer sent.detach()
		body = sent
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, c.base+call.Path, body)
	if err != nil {
		cancel(nil)
		return nil, c.failed(call, err)
	}
	c.head(req, call)
	if c.o.Timeout > 0 {
		timer := time.AfterFunc(c.o.Timeout, func() { cancel(context.DeadlineExceeded) })
		defer timer.Stop()
	}
	res, err := c.http.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		} else if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // without the URL
		}
		cancel(nil)
		return nil, c.failed(call, err)
	}
	if res.StatusCode < 200 || res.StatusCode >= 300 {
		err := c.failed(call, answered(res))
		cancel(nil)
		return nil, err
	}
	b := &answerBody{ReadCloser: res.Body, cancel: cancel, timeout: c.o.Timeout}
	if b.timeout > 0 {
		b.timer = time.AfterFunc(b.timeout, func() { cancel(context.DeadlineExceeded) })
		b.timer.Stop()
	}
	res.Body = b
	return res, nil
}

// sentBody is the body of a request. A transport may go on reading it after the answer, when
// the bytes are the caller's again: then it gets no more.
type sentBody struct {
	mu sync.Mutex
	r  io.Reader
}

// Read implements [io.Reader].
func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.r == nil {
		return 0, errAnswered
	}
	return b.r.Read(p)
}

var errAnswered = errors.New("ipnihttp: the request was answered before it was sent")

func (b *sentBody) detach() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.r = nil
}

func (c *Caller) head(req *http.Request, call Call) {
	for name, values := range c.o.Header {
		req.Header[name] = values
	}
	if call.Accept != "" {
		req.Header.Set("Accept", call.Accept)
	}
	if call.ContentType != "" {
		req.Header.Set("Content-Type", call.ContentType)
	}
	if call.Body != nil {
		req.ContentLength = call.Length
	}
}

// answerBody ends a request whose answer stalls, and what belongs to it when it is closed.
type answerBody struct {
	io.ReadCloser
	cancel  context.CancelCauseFunc
	timeout time.Duration
	timer   *time.Timer
}

// Read implements [io.Reader].
func (b *answerBody) Read(p []byte) (int, error) {
	if b.timer != nil {
		b.timer.Reset(b.timeout)
		defer b.timer.Stop()
	}
	return b.ReadCloser.Read(p)
}

// Close implements [io.Closer].
func (b *answerBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// answered makes an error of an answer, and closes it. Its text is hostile: it is cut
// and quoted.
func answered(res *http.Response) error {
	e := &Error{Status: res.StatusCode, RetryAfter: min(retryafter.Parse(res.Header.Get("Retry-After")), time.Hour), remote: true}
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxReason))
	res.Body.Close()
	if s := strings.TrimSpace(string(text)); s != "" {
		e.Reason = fmt.Sprintf("%d %s: %q", e.Status, http.StatusText(e.Status), s)
	}
	return e
}
