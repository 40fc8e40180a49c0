package ipnisync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// Path is where the protocol stands below the base of a publisher.
const Path = "/ipni/v1/ad"

// Defaults of [Options].
const (
	defaultStall   = 10 * time.Second
	defaultTimeout = 2 * time.Minute
	defaultRetries = 3
	defaultPause   = time.Second
	maxPause       = 30 * time.Second
	maxRedirects   = 3
)

// Options adjusts a [Client]. A nil Options or a zero field means the default.
type Options struct {
	// Transport carries requests to HTTP addresses; default one of the client's own.
	// Who gives one, such as a shared one of [NewTransport], decides what it dials.
	Transport http.RoundTripper
	// AllowPrivate lets the client's own transport dial any address; default public ones only.
	AllowPrivate bool

	Stall   time.Duration // without a byte, from the request on; default 10 s
	Timeout time.Duration // of a request as a whole, so that a body cannot drip; default 2 min
	Retries int           // after a failure that may pass; default 3, negative means none
	Pause   time.Duration // before the first retry, doubled for each further one; default 1 s
	Topic   string        // that a head must be of, if it names one; default any
}

// Client reads the chain of one publisher. It is an [ipni.Chain].
type Client struct {
	publisher peer.ID
	places    []*place
	best      atomic.Int32 // the place that answered last
	http      *http.Client
	own       *http.Transport
	o         Options
}

var _ ipni.Chain = (*Client)(nil)

// place is where a publisher may be.
type place struct {
	base  url.URL
	plain bool         // of HTTP, where old publishers leave Path out
	form  atomic.Int32 // of the paths that it has answered to
}

// The forms of paths of a place.
const (
	unknownForm = iota
	fullForm    // below Path
	shortForm   // without it
)

// New returns a client of a publisher at its addresses of HTTP, of which the first that
// answers is used. Its peer id is needed. New does not touch the network.
func New(publisher peer.AddrInfo, o *Options) (*Client, error) {
	c := newClient(publisher.ID, o)
	var why error
	for _, a := range publisher.Addrs {
		u, err := ad.URL(a)
		if err != nil {
			why = errors.Join(why, err)
			continue
		}
		c.places = append(c.places, &place{base: *u, plain: true})
	}
	switch {
	case publisher.ID == "":
		return nil, errors.New("ipnisync: a publisher without a peer id")
	case len(c.places) == 0 && why == nil:
		why = errors.New("no address")
		fallthrough
	case len(c.places) == 0:
		return nil, fmt.Errorf("ipnisync: publisher %s: %w", publisher.ID, why)
	}
	if c.http.Transport == nil {
		c.own = NewTransport(c.o.AllowPrivate)
		c.http.Transport = c.own
	}
	return c, nil
}

// Over returns a client of a publisher that rt leads to: it is asked for /head and /{cid}.
// Transport and AllowPrivate of o mean nothing.
func Over(publisher peer.ID, rt http.RoundTripper, o *Options) *Client {
	c := newClient(publisher, o)
	c.http.Transport = rt
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.places = []*place{{base: url.URL{Scheme: "http", Host: publisher.String()}}}
	return c
}

func newClient(publisher peer.ID, o *Options) *Client {
	c := &Client{publisher: publisher}
	if o != nil {
		c.o = *o
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.o.Stall, defaultStall}, {&c.o.Timeout, defaultTimeout}, {&c.o.Pause, defaultPause}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	if c.o.Retries == 0 {
		c.o.Retries = defaultRetries
	}
	c.http = &http.Client{Transport: c.o.Transport, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	return c
}

// Close drops the connections of a transport of the client's own.
func (c *Client) Close() error {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}

// Head returns the newest advertisement, which the publisher has signed.
func (c *Client) Head(ctx context.Context) (cid.Cid, error) {
	body, err := c.fetch(ctx, "head", "", maxHead)
	switch {
	case err == nil && body == nil:
		err = fs.ErrNotExist // no content
	case errors.Is(err, fs.ErrNotExist):
		// Who publishes has a head, or says that it has none yet: this is somebody else by now.
		err = fmt.Errorf("%w: no chain at any address", &StatusError{Status: http.StatusNotFound})
	}
	if err != nil {
		return cid.Undef, fmt.Errorf("ipnisync: head of %s: %w", c.publisher, err)
	}
	head, err := verifyHead(body, c.publisher, c.o.Topic)
	if err != nil {
		return cid.Undef, fmt.Errorf("ipnisync: head of %s: %w", c.publisher, err)
	}
	return head, nil
}

// Block returns a block, whose bytes hash to b.
func (c *Client) Block(ctx context.Context, b cid.Cid, kind ipni.Kind) ([]byte, error) {
	d, err := digest.FromCID(b)
	if err != nil {
		return nil, fmt.Errorf("ipnisync: block %s: %w", b, err)
	}
	body, err := c.fetch(ctx, b.String(), kind, ipni.MaxBlock)
	if err == nil {
		err = d.Verify(body)
	}
	if err != nil {
		return nil, fmt.Errorf("ipnisync: block %s of %s: %w", b, c.publisher, err)
	}
	return body, nil
}

// locate returns the URL of a resource in a form.
func (p *place) locate(name string, form int32) *url.URL {
	if p.plain && form != shortForm {
		return p.base.JoinPath(Path, name)
	}
	return p.base.JoinPath("/", name)
}

// String returns the base without what may be secret.
func (p *place) String() string {
	u := url.URL{Scheme: p.base.Scheme, Host: p.base.Host, Path: strings.TrimSuffix(p.base.Path, "/")}
	return u.String()
}
