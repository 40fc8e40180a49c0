package fetch

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/hashstream/hashstream/block"
	"github.com/hashstream/hashstream/dag"
	"github.com/hashstream/hashstream/digest"
)

var (
	// ErrIncomplete reports a DAG of which the gateways delivered only a part.
	ErrIncomplete = errors.New("the gateways did not deliver all of the content")
	// ErrHostile reports a gateway that sends what nobody asked for.
	ErrHostile = errors.New("the gateway sends blocks that were not asked for")
	// ErrStalled reports a gateway that makes no progress.
	ErrStalled = errors.New("the gateway makes no progress")
)

// Options adjust a [Client]. Zero fields mean the defaults.
type Options struct {
	Transport      http.RoundTripper                     // default: an own one with HTTP/2; the next two fields belong to it
	Proxy          func(*http.Request) (*url.URL, error) // default: no proxy
	ConnectTimeout time.Duration                         // to connect, and again for the TLS handshake; default 10 s
	HeaderTimeout  time.Duration                         // from a request to its response header, redirects included; default 30 s
	IdleTimeout    time.Duration                         // without a byte in a response; default 30 s
	BlockTimeout   time.Duration                         // for one whole block; default 2 min
	Retries        int                                   // further rounds over the gateways that were busy; default 2, negative: none
	RetryWait      time.Duration                         // longest wait between rounds; a longer Retry-After is not waited for; default 10 s
	Buffer         int64                                 // bytes of blocks kept ahead of the traversal, and the same again behind it; default 16 MiB
	UserAgent      string                                // default "hashstream"
	Trace          *Trace                                // default: none
}

// Trace is told what happens. Any hook may be nil. Hooks may be called from
// several goroutines at once and must return quickly.
type Trace struct {
	Request  func(gateway, url string)       // before a request
	Bytes    func(n int)                     // body bytes that arrived, wanted or not
	Block    func(d digest.Digest, size int) // a block was verified and delivered
	Fallback func(gateway string, why error) // a gateway, or its stream, was given up
}

// Client fetches verified content from gateways.
type Client struct {
	gateways  []*server
	http      *http.Client
	transport *http.Transport // nil if it is the caller's
	o         Options
	prefer    atomic.Int64 // the gateway to ask first: the last that delivered
}

var _ block.Source = (*Client)(nil)

// New returns a client of the gateways with these URLs: http or https, with an
// optional path prefix, and user:password@ for basic authentication. They are
// asked in order. A trailing /ipfs is dropped, as people copy it along. It does
// not touch the network.
func New(gateways []string, o *Options) (*Client, error) {
	c := &Client{o: defaults(o)}
	for _, s := range gateways {
		g, err := parseGateway(s)
		if err != nil {
			return nil, err
		}
		c.gateways = append(c.gateways, g)
	}
	if len(c.gateways) == 0 {
		return nil, errors.New("fetch: no gateway given")
	}
	transport := c.o.Transport
	if transport == nil {
		c.transport = newTransport(c.o)
		transport = c.transport
	}
	c.http = &http.Client{Transport: transport, CheckRedirect: checkRedirect}
	return c, nil
}

// Close drops idle connections. Sessions must be closed before.
func (c *Client) Close() error {
	if c.transport != nil {
		c.transport.CloseIdleConnections()
	}
	return nil
}

// Blocks yields the one verified block of d, from the first gateway that has it.
// An identity digest is answered without a request.
func (c *Client) Blocks(ctx context.Context, d digest.Digest) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		if inline, ok := d.Inline(); ok {
			yield(newBlock(d, inline), nil)
			return
		}
		data, err := c.raw(ctx, d)
		if err != nil {
			yield(block.Block{}, err)
			return
		}
		yield(newBlock(d, data), nil)
	}
}

// Walk yields the blocks of sel in the order of the trustless gateway's CARs,
// each verified, and none missing: unless the last value is an error the DAG is
// complete.
func (c *Client) Walk(ctx context.Context, sel block.Selection) iter.Seq2[block.Block, error] {
	return func(yield func(block.Block, error) bool) {
		s, err := c.Open(ctx, sel)
		if err != nil {
			yield(block.Block{}, err)
			return
		}
		defer s.Close()
		for b, err := range dag.Walk(ctx, s, sel) {
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

func defaults(o *Options) Options {
	var v Options
	if o != nil {
		v = *o
	}
	orDuration := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	orDuration(&v.ConnectTimeout, 10*time.Second)
	orDuration(&v.HeaderTimeout, 30*time.Second)
	orDuration(&v.IdleTimeout, 30*time.Second)
	orDuration(&v.BlockTimeout, 2*time.Minute)
	orDuration(&v.RetryWait, 10*time.Second)
	if v.Retries == 0 {
		v.Retries = 2
	}
	if v.Buffer <= 0 {
		v.Buffer = 16 << 20
	}
	if v.UserAgent == "" {
		v.UserAgent = "hashstream"
	}
	v.Trace = v.Trace.complete()
	return v
}

// complete returns a copy of t in which every hook can be called.
func (t *Trace) complete() *Trace {
	var v Trace
	if t != nil {
		v = *t
	}
	if v.Request == nil {
		v.Request = func(string, string) {}
	}
	if v.Bytes == nil {
		v.Bytes = func(int) {}
	}
	if v.Block == nil {
		v.Block = func(digest.Digest, int) {}
	}
	if v.Fallback == nil {
		v.Fallback = func(string, error) {}
	}
	return &v
}

func newTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: o.ConnectTimeout, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               o.Proxy,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: o.ConnectTimeout,
		ForceAttemptHTTP2:   true,
		// Compressed blocks would need a limit on two sizes; content-addressed
		// bytes rarely shrink.
		DisableCompression:     true,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        90 * time.Second,
	}
}

// each calls try for every gateway, the preferred one first, until one succeeds.
// Gateways that said they are busy get another chance, after the pause that they
// asked for. what names the content in the error.
func (c *Client) each(ctx context.Context, what string, try func(*server) error) error {
	errs := make([]error, len(c.gateways))
	first := int(c.prefer.Load())
	for round := 0; ; round++ {
		for i := range c.gateways {
			n := (first + i) % len(c.gateways)
			if round > 0 && !temporary(errs[n]) {
				continue
			}
			err := try(c.gateways[n])
			if err == nil {
				c.prefer.Store(int64(n))
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("fetch: get %s: %w", what, context.Cause(ctx))
			}
			errs[n] = fmt.Errorf("from %s: %w", c.gateways[n], err)
			c.o.Trace.Fallback(c.gateways[n].String(), err)
		}
		wait, ok := pause(errs, round)
		if !ok || round >= c.o.Retries || wait > c.o.RetryWait {
			return &failure{what: what, errs: errs}
		}
		if err := sleep(ctx, wait); err != nil {
			return fmt.Errorf("fetch: get %s: %w", what, err)
		}
	}
}

// distrust makes the gateway after g the one to ask first.
func (c *Client) distrust(g *server) {
	for i := range c.gateways {
		if c.gateways[i] == g {
			c.prefer.CompareAndSwap(int64(i), int64((i+1)%len(c.gateways)))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
