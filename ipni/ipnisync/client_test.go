package ipnisync_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/dagsync/ipnisync/head"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// go-libipni closes its connections after each advertisement.
func TestKeepsConnection(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 20)
	var conns atomic.Int32
	s := httptest.NewUnstartedServer(ipnisync.Handler(chain, key, nil))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	defer s.Close()
	c := newClient(t, id, ipnisync.Options{}, s.URL)
	for range 3 {
		readChain(t, c)
		if _, err := c.Block(t.Context(), cid.MustParse("baguqeeraeamgczd3tueogro5k5lqqd5p27icrebnogur35ajulgck4tqxb4q"), ""); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections for one publisher", n)
	}
}

// recorder notes the paths that are asked for.
type recorder struct {
	http.Handler
	mu    sync.Mutex
	paths []string
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.paths = append(r.paths, req.URL.Path)
	r.mu.Unlock()
	r.Handler.ServeHTTP(w, req)
}

// take returns what was noted since it was called last.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	paths := r.paths
	r.paths = nil
	return paths
}

func TestForms(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	h := ipnisync.Handler(chain, key, nil)
	missing := cid.MustParse("baguqeeraeamgczd3tueogro5k5lqqd5p27icrebnogur35ajulgck4tqxb4q")
	for _, status := range []int{0, http.StatusNotFound, http.StatusForbidden} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			r := &recorder{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if status != 0 && strings.HasPrefix(r.URL.Path, ipnisync.Path) {
					w.WriteHeader(status)
					return
				}
				h.ServeHTTP(w, r)
			})}
			c := newClient(t, id, ipnisync.Options{}, newServer(t, r).URL)
			if _, err := c.Block(t.Context(), missing, ""); err == nil || status != http.StatusForbidden && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing block: %v", err)
			}
			if n := len(r.take()); n != 2 {
				t.Errorf("%d requests before the form is known, want 2", n)
			}
			if _, err := c.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.take()
			if _, err := c.Head(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := ipnisync.Path + "/head"
			if status != 0 {
				want = "/head"
			}
			if got := r.take(); len(got) != 1 || got[0] != want {
				t.Errorf("asked for %v, want %s", got, want)
			}
			if _, err := c.Block(t.Context(), missing, ""); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a missing block: %v", err)
			}
			if n := len(r.take()); n != 1 {
				t.Errorf("%d requests for a missing block, want 1", n)
			}
		})
	}
}

// answers serves the given answers one after the other, and the last one from then on.
func answers(all ...http.HandlerFunc) *recorder {
	r := &recorder{}
	n := -1
	r.Handler = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n = min(n+1, len(all)-1)
		all[n](w, req)
	})
	return r
}

func status(code int, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(code)
	}
}

func body(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }
}

// pipes is a listener that the clients of a bubble dial without a network.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// bubble returns a client of a real server, both of which live in the bubble of a test.
func bubble(t *testing.T, h http.Handler, id peer.ID, o ipnisync.Options) *ipnisync.Client {
	t.Helper()
	p := &pipes{make(chan net.Conn), make(chan struct{})}
	s := &http.Server{Handler: h}
	go func() { _ = s.Serve(p) }()
	tr := &http.Transport{DialContext: p.dial, DisableCompression: true}
	o.Transport = tr
	c, err := ipnisync.New(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/publisher/tcp/80/http")}}, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		_ = s.Close()
	})
	return c
}

func TestRetries(t *testing.T) {
	_, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	block := chain.Blocks()[chain.Tip()]
	short := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(block)))
		_, _ = w.Write(block[:10])
	}
	soon := "Retry-After"
	for name, c := range map[string]struct {
		answers  []http.HandlerFunc
		requests int
		waits    time.Duration // at least
		good     bool
	}{
		"at once":          {[]http.HandlerFunc{body(block)}, 1, 0, true},
		"overloaded":       {[]http.HandlerFunc{status(503), status(500), body(block)}, 3, 2 * time.Second, true},
		"cut":              {[]http.HandlerFunc{short, body(block)}, 2, 750 * time.Millisecond, true},
		"limited":          {[]http.HandlerFunc{status(429, soon, "20"), body(block)}, 2, 20 * time.Second, true},
		"for ever":         {[]http.HandlerFunc{status(502)}, 4, 5 * time.Second, false},
		"limited for long": {[]http.HandlerFunc{status(429, soon, "3600")}, 1, 0, false},
		"not allowed":      {[]http.HandlerFunc{status(401), body(block)}, 1, 0, false},
		"gone":             {[]http.HandlerFunc{status(410), status(410), body(block)}, 2, 0, false},
		"wrong":            {[]http.HandlerFunc{body([]byte("wrong")), body(block)}, 1, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := answers(c.answers...)
				client := bubble(t, r, id, ipnisync.Options{})
				start := time.Now()
				got, err := client.Block(t.Context(), chain.Tip(), ipni.Advertisement)
				if (err == nil) != c.good || c.good && !bytes.Equal(got, block) {
					t.Errorf("%q, %v", got, err)
				}
				if n := len(r.take()); n != c.requests {
					t.Errorf("%d requests, want %d", n, c.requests)
				}
				if took := time.Since(start); took < c.waits || took > 2*c.waits+time.Second {
					t.Errorf("took %s, want %s or some more", took, c.waits)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		client := bubble(t, answers(status(429, soon, "3600")), id, ipnisync.Options{})
		_, err := client.Block(t.Context(), chain.Tip(), ipni.Advertisement)
		var s *ipnisync.StatusError
		if !errors.As(err, &s) || s.Status != 429 || s.RetryAfter != time.Hour {
			t.Errorf("limited: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		r := answers(status(503))
		client := bubble(t, r, id, ipnisync.Options{Retries: -1})
		if _, err := client.Head(t.Context()); err == nil || len(r.take()) != 1 {
			t.Errorf("without retries: %v", err)
		}
	})
}

// A publisher that sends nothing, or a byte now and then, is left.
func TestStall(t *testing.T) {
	_, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	block := chain.Blocks()[chain.Tip()]
	until := func(r *http.Request, d time.Duration) {
		select {
		case <-r.Context().Done():
		case <-time.After(d):
		}
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { until(r, time.Hour) }
	stalls := func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(block[:10])
		_ = http.NewResponseController(w).Flush()
		until(r, time.Hour)
	}
	drips := func(w http.ResponseWriter, r *http.Request) {
		for i := range block {
			if _, err := w.Write(block[i : i+1]); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			until(r, 5*time.Second)
		}
	}
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want time.Duration
	}{
		"silent": {silent, 10 * time.Second}, "stalls": {stalls, 10 * time.Second}, "drips": {drips, 2 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := bubble(t, c.h, id, ipnisync.Options{Retries: -1})
				start := time.Now()
				_, err := client.Block(t.Context(), chain.Tip(), ipni.Advertisement)
				if took := time.Since(start); err == nil || took != c.want {
					t.Errorf("after %s, want %s: %v", took, c.want, err)
				}
				if errors.Is(err, digest.ErrMismatch) || errors.Is(err, fs.ErrNotExist) {
					t.Errorf("what may pass: %v", err)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // slow, but not too slow
		slow := func(w http.ResponseWriter, r *http.Request) {
			until(r, 9*time.Second)
			_, _ = w.Write(block[:10])
			_ = http.NewResponseController(w).Flush()
			until(r, 9*time.Second)
			_, _ = w.Write(block[10:])
		}
		client := bubble(t, http.HandlerFunc(slow), id, ipnisync.Options{Retries: -1})
		if _, err := client.Block(t.Context(), chain.Tip(), ipni.Advertisement); err != nil {
			t.Error(err)
		}
	})
	synctest.Test(t, func(t *testing.T) { // the caller loses patience
		client := bubble(t, http.HandlerFunc(silent), id, ipnisync.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := client.Head(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	})
}

func TestHostileBodies(t *testing.T) {
	_, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 64<<20))
	_ = z.Close()
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for part := make([]byte, 64<<10); ; {
			if _, err := w.Write(part); err != nil {
				return
			}
		}
	}
	zipped := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asks for the encodings %q", r.Header.Get("Accept-Encoding"))
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}
	large := status(200, "Content-Length", fmt.Sprint(ipni.MaxBlock+1))
	deep := strings.Repeat(`{"head":[`, 800)
	for name, h := range map[string]http.HandlerFunc{
		"other bytes": body([]byte("other")), "empty": body(nil), "no content": status(204), "endless": endless, "a bomb": zipped, "large": large,
		"deep": body([]byte(deep)), "half": body([]byte(`{"head":{"/":"` + chain.Tip().String() + `"}}`)),
	} {
		c := newClient(t, id, ipnisync.Options{}, newServer(t, h).URL)
		if b, err := c.Block(t.Context(), chain.Tip(), ipni.Advertisement); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: block %d, %v", name, len(b), err)
		}
		if name == "no content" {
			continue
		}
		if head, err := c.Head(t.Context()); !errors.Is(err, digest.ErrMismatch) {
			t.Errorf("%s: head %s, %v", name, head, err)
		}
	}
	c := newClient(t, id, ipnisync.Options{}, newServer(t, body(nil)).URL)
	for _, b := range []cid.Cid{cid.Undef, cid.MustParse("bafkreehdwdcefgh4dqkjv67uzcmw7oje")} {
		if _, err := c.Block(t.Context(), b, ""); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestPlaces(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 2)
	dead := httptest.NewServer(nil)
	dead.Close()
	busy := &recorder{Handler: status(503)}
	good := &recorder{Handler: ipnisync.Handler(chain, key, nil)}
	c := newClient(t, id, ipnisync.Options{}, dead.URL, newServer(t, busy).URL, newServer(t, good).URL)
	readChain(t, c)
	if n := len(busy.take()); n != 1 {
		t.Errorf("%d requests to a place that is busy", n)
	}
	if n := len(good.take()); n != 5 {
		t.Errorf("%d requests to the place that answers", n)
	}
}

// That one place has nothing does not say that there is nothing; and who has no head
// at all, not even to say so, does not publish.
func TestAbsence(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 2)
	gone, good, empty := newServer(t, status(404)).URL, newServer(t, ipnisync.Handler(chain, key, nil)).URL, newServer(t, status(204)).URL
	readChain(t, newClient(t, id, ipnisync.Options{}, gone, good))
	missing := cid.MustParse("baguqeeraeamgczd3tueogro5k5lqqd5p27icrebnogur35ajulgck4tqxb4q")
	for _, c := range []struct {
		places      []string
		head, block bool // absent
	}{
		{[]string{gone}, false, true}, {[]string{gone, gone}, false, true}, {[]string{empty}, true, false}, {[]string{gone, empty}, true, false},
		{[]string{gone, newServer(t, status(500)).URL}, false, false}, {[]string{newServer(t, status(500)).URL, gone}, false, false},
		{[]string{newServer(t, status(400)).URL, gone}, false, false},
	} {
		client := newClient(t, id, ipnisync.Options{Retries: -1}, c.places...)
		if _, err := client.Head(t.Context()); err == nil || errors.Is(err, fs.ErrNotExist) != c.head {
			t.Errorf("%v: head: %v", c.places, err)
		}
		if _, err := client.Block(t.Context(), missing, ""); err == nil || errors.Is(err, fs.ErrNotExist) != c.block {
			t.Errorf("%v: block: %v", c.places, err)
		}
	}
}

// A CID may be as long as its author likes, and would have to be kept.
func TestLongHead(t *testing.T) {
	key, id := ipnitest.Key(1)
	mh, err := multihash.Sum(make([]byte, ipni.MaxCID), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := head.NewSignedHead(cid.NewCidV1(cid.DagJSON, mh), "", key)
	if err != nil {
		t.Fatal(err)
	}
	data, err := signed.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	if c, err := newClient(t, id, ipnisync.Options{}, s.URL).Head(t.Context()); !errors.Is(err, digest.ErrMismatch) {
		t.Errorf("%s, %v", c, err)
	}
}

func TestNoPlace(t *testing.T) {
	_, id := ipnitest.Key(1)
	for _, info := range []peer.AddrInfo{
		{Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/dns4/example.com/tcp/443/https")}}, {ID: id},
		{ID: id, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/8.8.8.8/tcp/1")}},
	} {
		if c, err := ipnisync.New(info, nil); err == nil {
			t.Errorf("%v: %v", info, c)
		}
	}
}

// Addresses of this machine and its networks are refused, also behind a name or a redirect.
func TestPrivateAddresses(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	inside := &recorder{Handler: ipnisync.Handler(chain, key, nil)}
	s := newServer(t, inside)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{u.Host, "localhost:" + u.Port(), "[::ffff:127.0.0.1]:" + u.Port(), "169.254.169.254:80", "0.0.0.0:" + u.Port()} {
		c, err := ipnisync.New(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{addr(t, "http://"+host)}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Head(t.Context()); !errors.Is(err, ipnisync.ErrPrivate) {
			t.Errorf("%s: %v", host, err)
		}
	}
	outside := newServer(t, http.RedirectHandler(s.URL+"/secret?token=1", http.StatusFound))
	tr := ipnisync.NewTransport(false)
	defer tr.CloseIdleConnections()
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "outside.example:80" { // which is public, let us say
			return new(net.Dialer).DialContext(ctx, network, outside.Listener.Addr().String())
		}
		return dial(ctx, network, address)
	}
	c, err := ipnisync.New(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{addr(t, "http://outside.example")}}, &ipnisync.Options{Transport: tr})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Head(t.Context()); !errors.Is(err, ipnisync.ErrPrivate) || strings.Contains(err.Error(), "token") {
		t.Errorf("a redirect: %v", err)
	}
	if paths := inside.take(); len(paths) > 0 {
		t.Errorf("the server inside was asked for %v", paths)
	}
}

func TestRedirects(t *testing.T) {
	key, id := ipnitest.Key(1)
	chain := newChain(t, 1)
	s := newServer(t, ipnisync.Handler(chain, key, nil))
	moved := newServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.URL+r.URL.Path, http.StatusMovedPermanently)
	}))
	readChain(t, newClient(t, id, ipnisync.Options{}, moved.URL))
	loop := &recorder{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	})}
	if _, err := newClient(t, id, ipnisync.Options{}, newServer(t, loop).URL).Head(t.Context()); err == nil {
		t.Error("a loop has an end")
	}
	if n := len(loop.take()); n > 5 {
		t.Errorf("%d requests into a loop", n)
	}
}
