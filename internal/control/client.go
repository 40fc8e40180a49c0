package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// Client speaks with the node of a home. It is a [kv.Store]: the node's index.
type Client struct {
	http http.Client
}

var _ kv.Store = (*Client)(nil)

// Dial finds the node that runs in home. If there is none, the error matches
// [ErrNoNode]. The caller closes the client.
func Dial(ctx context.Context, home string) (*Client, error) {
	c := newClient(func(ctx context.Context) (net.Conn, error) { return dialSocket(ctx, home) })
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := c.Status(ctx); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("control: dial %s: %w", home, err)
	}
	return c, nil
}

func newClient(dial func(context.Context) (net.Conn, error)) *Client {
	return &Client{http: http.Client{Transport: &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		ReadBufferSize:      64 << 10,
	}}}
}

// Close ends idle connections. It always returns nil.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// Status asks the node about itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	resp, err := c.send(ctx, http.MethodGet, "/status", nil)
	if err != nil {
		return Status{}, fmt.Errorf("control: status: %w", err)
	}
	defer resp.Body.Close()
	var s Status
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&s); err != nil {
		return Status{}, fmt.Errorf("control: status: %w (%w)", err, ErrMalformed)
	}
	return s, nil
}

// Do runs a command in the node and copies what it writes to out. The command is
// stopped when ctx ends.
func (c *Client) Do(ctx context.Context, name string, args []byte, out io.Writer) error {
	resp, err := c.send(ctx, http.MethodPost, "/do/"+name, args)
	if err != nil {
		return fmt.Errorf("control: do %s: %w", name, err)
	}
	defer resp.Body.Close()
	for d := newDecoder(resp.Body); ; {
		if err := d.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return fmt.Errorf("control: do %s: %w", name, err)
		}
		piece, err := d.field(MaxKey)
		if err != nil {
			return fmt.Errorf("control: do %s: %w", name, err)
		}
		if _, err := out.Write(piece); err != nil {
			return err
		}
	}
}

// Get returns the value of key.
func (c *Client) Get(ctx context.Context, key []byte) ([]byte, error) {
	if len(key) > MaxKey {
		return nil, fmt.Errorf("control: get: key of %d bytes: %w", len(key), ErrTooLarge)
	}
	value, err := c.call(ctx, "/kv/get", key)
	if err != nil {
		return nil, fmt.Errorf("control: get %x: %w", clip(key), err)
	}
	return value, nil
}

// Scan yields the pairs of r as they arrive.
func (c *Client) Scan(ctx context.Context, r kv.Range) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		err := c.scan(ctx, r, func(p kv.Pair) bool { return yield(p, nil) })
		if err != nil {
			yield(kv.Pair{}, fmt.Errorf("control: scan from %x: %w", clip(r.From), err))
		}
	}
}

// scan returns nil at the end, and when yield has had enough.
func (c *Client) scan(ctx context.Context, r kv.Range, yield func(kv.Pair) bool) error {
	if len(r.From) > MaxKey || len(r.To) > MaxKey {
		return ErrTooLarge
	}
	resp, err := c.send(ctx, http.MethodPost, "/kv/scan", appendRange(nil, r))
	if err != nil {
		return err
	}
	defer resp.Body.Close() // before the end this closes the connection, which ends the scan there
	for d := newDecoder(resp.Body); ; {
		if err := d.next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		pair, err := d.pair()
		if err != nil {
			return err
		}
		if ctx.Err() != nil { // what had arrived before does not count
			return context.Cause(ctx)
		}
		if !yield(pair) {
			return nil
		}
	}
}

// Batch applies ops in order, all or none. Their encoding must fit in [MaxBatch].
func (c *Client) Batch(ctx context.Context, ops []kv.Op) error {
	body, err := appendOps(nil, ops)
	if err == nil {
		_, err = c.call(ctx, "/kv/batch", body)
	}
	if err != nil {
		return fmt.Errorf("control: batch of %d: %w", len(ops), err)
	}
	return nil
}

// Update replaces the value of key by what f makes of it. f runs here; the node
// takes its result only if the value is still the one that f saw.
func (c *Client) Update(ctx context.Context, key []byte, f func(old []byte) ([]byte, error)) error {
	old, err := c.Get(ctx, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for {
		next, err := f(bytes.Clone(old))
		if err != nil {
			return err
		}
		if len(next) > MaxValue {
			return fmt.Errorf("control: update %x: %w", clip(key), ErrTooLarge)
		}
		current, err := c.call(ctx, "/kv/swap", appendSwap(nil, swap{key, old, next}))
		if err == nil {
			return nil
		}
		if errors.Is(err, errConflict) {
			old, err = newDecoder(bytes.NewReader(current)).optional(MaxValue)
		}
		if err != nil {
			return fmt.Errorf("control: update %x: %w", clip(key), err)
		}
	}
}

// call sends body and returns the whole answer, never nil if err is. A conflict
// has an answer and an error.
func (c *Client) call(ctx context.Context, path string, body []byte) ([]byte, error) {
	resp, err := c.send(ctx, http.MethodPost, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	const limit = MaxValue + binaryOverhead
	if resp.ContentLength > limit {
		return nil, ErrTooLarge
	}
	out, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if len(out) > limit {
		return nil, ErrTooLarge
	}
	if resp.StatusCode == http.StatusConflict {
		err = errConflict
	}
	return out, err
}

// send returns the answer if it is the node's and no failure.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://control"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, plain(err)
	}
	switch {
	case resp.Header.Get(versionHeader) != version:
		err = fmt.Errorf("%w: the answer is not of version %s of the protocol", ErrMalformed, version)
	case resp.StatusCode == http.StatusOK, resp.StatusCode == http.StatusConflict:
		return resp, nil
	default:
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorText)) // the status says enough
		err = errorOf(resp.StatusCode, string(bytes.TrimSpace(text)))
	}
	_ = resp.Body.Close()
	return nil, err
}

// plain removes what net/http says about a URL that is no real one.
func plain(err error) error {
	type wrapper interface{ Unwrap() error }
	if w, ok := err.(wrapper); ok && w.Unwrap() != nil { // *url.Error
		return w.Unwrap()
	}
	return err
}

func clip(b []byte) []byte { return b[:min(len(b), 64)] }
