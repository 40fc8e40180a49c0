package ipnisync

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"time"

	"github.com/failsafe-go/failsafe-go"
	"github.com/failsafe-go/failsafe-go/retrypolicy"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/retryafter"
)

// schemaHeader tells the publisher what is asked for.
const schemaHeader = "Ipni-Cid-Schema-Type"

// StatusError is an answer that is neither a success nor says that there is nothing.
type StatusError struct {
	Status     int           // of HTTP
	RetryAfter time.Duration // that the publisher asks for, 0 if it does not
}

// Error returns the status in words.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the publisher answered %d %s", e.Status, http.StatusText(e.Status))
}

// fetch returns a resource of at most limit bytes, nil if it has no content.
func (c *Client) fetch(ctx context.Context, name string, kind ipni.Kind, limit int64) ([]byte, error) {
	if c.o.Retries < 0 {
		return c.ask(ctx, name, kind, limit)
	}
	policy := retrypolicy.NewBuilder[[]byte]().
		HandleIf(func(_ []byte, err error) bool { return err != nil && ctx.Err() == nil && mayPass(err) }).
		WithMaxRetries(c.o.Retries).
		WithBackoff(c.o.Pause, max(maxPause, 2*c.o.Pause)).
		WithJitterFactor(0.25).
		WithDelayFunc(asked).
		ReturnLastFailure()
	body, err := failsafe.With(policy.Build()).WithContext(ctx).Get(func() ([]byte, error) { return c.ask(ctx, name, kind, limit) })
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	return body, err
}

// asked is the pause that a publisher asked for, negative if it did not. Jitter takes up
// to a quarter of it.
func asked(e failsafe.ExecutionAttempt[[]byte]) time.Duration {
	var status *StatusError
	if errors.As(e.LastError(), &status) && status.RetryAfter > 0 {
		return status.RetryAfter * 4 / 3
	}
	return -1
}

// mayPass reports whether what failed may succeed soon: no answer, a part of one, or one
// that says so itself. Who wants to be asked much later is left to the caller.
func mayPass(err error) bool {
	for _, lasting := range []error{fs.ErrNotExist, digest.ErrMismatch, ErrPrivate, errSlow} {
		if errors.Is(err, lasting) {
			return false
		}
	}
	var status *StatusError
	if !errors.As(err, &status) {
		return true
	}
	return (status.Status == http.StatusTooManyRequests || status.Status >= 500) && status.RetryAfter <= maxPause
}

// ask asks the places of the publisher, that which answered last first, until one has an answer.
// Only if all say that it does not exist it does not: one may be a host that serves others by now.
func (c *Client) ask(ctx context.Context, name string, kind ipni.Kind, limit int64) ([]byte, error) {
	var failed error
	best := int(c.best.Load())
	for i := range c.places {
		i = (best + i) % len(c.places)
		p := c.places[i]
		body, err := c.askPlace(ctx, p, name, kind, limit)
		if err == nil {
			c.best.Store(int32(i))
			return body, nil
		}
		// A failure that may pass decides whether all are asked again, absence nothing.
		if err = fmt.Errorf("%s: %w", p, err); failed == nil || errors.Is(failed, fs.ErrNotExist) || !mayPass(failed) && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// askPlace asks one place, in the form that it is known to answer to.
func (c *Client) askPlace(ctx context.Context, p *place, name string, kind ipni.Kind, limit int64) ([]byte, error) {
	form := p.form.Load()
	if form != unknownForm || !p.plain {
		return c.get(ctx, p.locate(name, form), kind, limit)
	}
	body, err := c.get(ctx, p.locate(name, fullForm), kind, limit)
	if err == nil {
		p.form.Store(fullForm)
		return body, nil
	}
	var status *StatusError
	if forbidden := errors.As(err, &status) && status.Status == http.StatusForbidden; !forbidden && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	// Old publishers serve below their base at once, and stores of files forbid what they do not have.
	if body, short := c.get(ctx, p.locate(name, shortForm), kind, limit); short == nil && body != nil {
		p.form.Store(shortForm)
		return body, nil
	}
	return nil, err
}

var (
	errStall = errors.New("the publisher sends nothing")
	errSlow  = errors.New("the publisher is too slow") // which it will be again
)

// get does one request.
func (c *Client) get(ctx context.Context, u *url.URL, kind ipni.Kind, limit int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, c.o.Timeout, fmt.Errorf("%w: no full answer in %s", errSlow, c.o.Timeout))
	defer stop()
	stall := time.AfterFunc(c.o.Stall, func() { cancel(fmt.Errorf("%w for %s", errStall, c.o.Stall)) })
	defer stall.Stop()
	body, err := c.read(ctx, u, kind, limit, func() { stall.Reset(c.o.Stall) })
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if uerr := (*url.Error)(nil); errors.As(err, &uerr) {
		err = uerr.Err // a redirect may have led to what should not be told
	}
	return body, err
}

// read reads an answer and calls alive for each part of it.
func (c *Client) read(ctx context.Context, u *url.URL, kind ipni.Kind, limit int64, alive func()) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set(schemaHeader, string(kind))
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	alive()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNoContent:
		return nil, nil
	default:
		_, _ = io.CopyN(io.Discard, res.Body, maxHeaderBytes) // so that the connection can be kept
		return nil, failure(res)
	}
	if e := res.Header.Get("Content-Encoding"); e != "" && e != "identity" {
		return nil, fmt.Errorf("%w: in the encoding %.32q, which nobody asked for", digest.ErrMismatch, e)
	}
	if res.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	// One byte of room tells the end of a body of known size from more of it.
	body := make([]byte, 0, max(res.ContentLength, 511)+1)
	for {
		n, err := res.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case int64(len(body)) > limit:
			return nil, tooLarge(limit)
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, err
		}
		if n > 0 {
			alive()
		}
		if len(body) == cap(body) {
			body = append(body, 0)[:len(body)]
		}
	}
}

func tooLarge(limit int64) error {
	return fmt.Errorf("%w: more than %d bytes", digest.ErrMismatch, limit)
}

// failure makes an error of the status of an answer.
func failure(res *http.Response) error {
	switch res.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return fs.ErrNotExist
	}
	return &StatusError{Status: res.StatusCode, RetryAfter: retryafter.Parse(res.Header.Get("Retry-After"))}
}
