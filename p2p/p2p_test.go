package p2p_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	selectorparse "github.com/ipld/go-ipld-prime/traversal/selector/parse"
	theirs "github.com/ipni/go-libipni/dagsync/ipnisync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/p2p"
)

var local = []multiaddr.Multiaddr{multiaddr.StringCast("/ip4/127.0.0.1/tcp/0")}

func newKey(tb testing.TB) crypto.PrivKey {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// open returns a host that listens on this machine and dials it.
func open(tb testing.TB, o p2p.Options) *p2p.Host {
	tb.Helper()
	o.Listen, o.AllowPrivate = local, true
	h, err := p2p.Open(&o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// foreign returns a host of the library's own making.
func foreign(tb testing.TB, key crypto.PrivKey) host.Host {
	tb.Helper()
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrs(local...), libp2p.DisableRelay())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.Close() })
	return h
}

func infoOf(h host.Host) peer.AddrInfo { return peer.AddrInfo{ID: h.ID(), Addrs: h.Addrs()} }

// readAll reads the advertisements of a chain and counts them.
func readAll(tb testing.TB, chain ipni.Chain) (n int) {
	tb.Helper()
	head, err := chain.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	for ; head.Defined(); n++ {
		block, err := chain.Block(tb.Context(), head, ipni.Advertisement)
		if err != nil {
			tb.Fatal(err)
		}
		a, err := ad.Decode(head, block)
		if err != nil {
			tb.Fatal(err)
		}
		head = a.Previous
	}
	return n
}

func TestForeignPublisher(t *testing.T) {
	for _, path := range []string{"", "/some/path"} {
		t.Run(path, func(t *testing.T) {
			key := newKey(t)
			chain := ipnitest.NewChain(key).Grow(t, 5)
			system, _ := ipnitest.LinkSystem(chain.Blocks())
			h := foreign(t, key)
			pub, err := theirs.NewPublisher(system, key, theirs.WithStreamHost(h), theirs.WithHandlerPath(path))
			if err != nil {
				t.Fatal(err)
			}
			defer pub.Close()
			own := open(t, p2p.Options{})
			c := ipnisync.Over(h.ID(), own.RoundTripper(infoOf(h), ipnisync.Path), nil)
			if head, err := c.Head(t.Context()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("no head: %s, %v", head, err)
			}
			pub.SetRoot(chain.Tip())
			if n := readAll(t, c); n != 5 {
				t.Errorf("%d advertisements, want 5", n)
			}
			if conns := h.Network().ConnsToPeer(own.ID()); len(conns) != 1 {
				t.Errorf("%d connections", len(conns))
			}
			waitStreams(t, h, own.ID())
		})
	}
}

// waitStreams waits until all streams of HTTP with a peer have ended: none is left over.
func waitStreams(t *testing.T, h host.Host, id peer.ID) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		n := 0
		for _, c := range h.Network().ConnsToPeer(id) {
			for _, s := range c.GetStreams() {
				if s.Protocol() == "/http/1.1" {
					n++
				}
			}
		}
		if n == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d streams are left", n)
		}
	}
}

func TestForeignSyncer(t *testing.T) {
	key := newKey(t)
	chain := ipnitest.NewChain(key).Grow(t, 5)
	own := open(t, p2p.Options{Key: key})
	if err := own.Serve(ipnisync.Path, ipnisync.Handler(chain, key, nil)); err != nil {
		t.Fatal(err)
	}
	system, store := ipnitest.LinkSystem(nil)
	sync := theirs.NewSync(system, nil, theirs.ClientStreamHost(foreign(t, newKey(t))), theirs.ClientAuthServerPeerID(true))
	defer sync.Close()
	syncer, err := sync.NewSyncer(own.Info())
	if err != nil {
		t.Fatal(err)
	}
	head, err := syncer.GetHead(t.Context())
	if err != nil || head != chain.Tip() {
		t.Fatalf("%s, %v", head, err)
	}
	if err := syncer.Sync(t.Context(), head, selectorparse.CommonSelector_MatchPoint); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(store.Bag[head.KeyString()], chain.Blocks()[head]) {
		t.Error("another advertisement came")
	}
}

func TestBothEnds(t *testing.T) {
	key := newKey(t)
	server, client := open(t, p2p.Options{Key: key}), open(t, p2p.Options{})
	if err := server.Serve("/other", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(ipnisync.Path, ipnisync.Handler(ipnitest.NewChain(key).Grow(t, 5), key, nil)); err != nil {
		t.Fatal(err)
	}
	if err := server.Serve(ipnisync.Path, http.NotFoundHandler()); err == nil {
		t.Error("a protocol is served twice")
	}
	c := ipnisync.Over(server.ID(), client.RoundTripper(server.Info(), ipnisync.Path), nil)
	if n := readAll(t, c); n != 5 {
		t.Errorf("%d advertisements, want 5", n)
	}
	if _, err := c.Block(t.Context(), cid.MustParse("baguqeeraeamgczd3tueogro5k5lqqd5p27icrebnogur35ajulgck4tqxb4q"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing block: %v", err)
	}
	if _, err := get(t.Context(), client.RoundTripper(server.Info(), "/nothing"), "/"); !errors.Is(err, p2p.ErrProtocol) {
		t.Errorf("a protocol that is not served: %v", err)
	}
}

func get(ctx context.Context, rt http.RoundTripper, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://peer"+path, nil)
	if err != nil {
		return nil, err
	}
	return rt.RoundTrip(r)
}

func TestBodies(t *testing.T) {
	server, client := open(t, p2p.Options{}), open(t, p2p.Options{})
	echo := func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}
	if err := server.Serve("/echo", http.HandlerFunc(echo)); err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("body"), 1<<18)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://peer/x?y=z", bytes.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.RoundTripper(server.Info(), "/echo").RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(res.Body)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
}

// rawServer answers streams of HTTP with bytes of its own: the list of protocols, then
// what answer writes.
func rawServer(t *testing.T, h host.Host, answer func(network.Stream)) {
	t.Helper()
	var n atomic.Int32
	h.SetStreamHandler("/http/1.1", func(s network.Stream) {
		defer s.Close()
		_, _ = s.Read(make([]byte, 4096))
		if n.Add(1) == 1 {
			list := `{"/x":{"path":"/x/"}}`
			_, _ = fmt.Fprintf(s, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(list), list)
			return
		}
		answer(s)
	})
}

func TestHostileAnswers(t *testing.T) {
	client := open(t, p2p.Options{})
	t.Run("endless head", func(t *testing.T) {
		h := foreign(t, newKey(t))
		rawServer(t, h, func(s network.Stream) {
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\n")
			for i := 0; ; i++ {
				if _, err := fmt.Fprintf(s, "X-%d: %s\r\n", i, strings.Repeat("x", 1000)); err != nil {
					return
				}
			}
		})
		if res, err := get(t.Context(), client.RoundTripper(infoOf(h), "/x"), "/"); err == nil {
			t.Errorf("%v", res)
		}
		waitStreams(t, h, client.ID())
	})
	t.Run("silent", func(t *testing.T) {
		h := foreign(t, newKey(t))
		asked, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		rawServer(t, h, func(network.Stream) {
			close(asked)
			<-release
		})
		ctx, cancel := context.WithCancelCause(t.Context())
		gone := errors.New("gone")
		go func() {
			<-asked
			cancel(gone)
		}()
		if res, err := get(ctx, client.RoundTripper(infoOf(h), "/x"), "/"); !errors.Is(err, gone) {
			t.Errorf("%v, %v", res, err)
		}
	})
	t.Run("stalls in the body", func(t *testing.T) {
		h := foreign(t, newKey(t))
		release := make(chan struct{})
		defer close(release)
		rawServer(t, h, func(s network.Stream) {
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
			<-release
		})
		ctx, cancel := context.WithCancel(t.Context())
		res, err := get(ctx, client.RoundTripper(infoOf(h), "/x"), "/")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(res.Body, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		cancel()
		if b, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("the rest is %q", b)
		}
		_ = res.Body.Close() // does not wait for the rest either
	})
	t.Run("closed early", func(t *testing.T) {
		h := foreign(t, newKey(t))
		release := make(chan struct{})
		defer close(release)
		rawServer(t, h, func(s network.Stream) {
			_, _ = io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
			<-release
		})
		res, err := get(t.Context(), client.RoundTripper(infoOf(h), "/x"), "/")
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Body.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("protocols", func(t *testing.T) {
		for _, list := range []string{"", "[]", `{"/x":{"path":"%zz"}}`, `{}`, strings.Repeat(" ", 100_000)} {
			h := foreign(t, newKey(t))
			h.SetStreamHandler("/http/1.1", func(s network.Stream) {
				defer s.Close()
				_, _ = s.Read(make([]byte, 4096))
				_, _ = fmt.Fprintf(s, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(list), list)
			})
			if _, err := get(t.Context(), client.RoundTripper(infoOf(h), "/x"), "/"); !errors.Is(err, p2p.ErrProtocol) {
				t.Errorf("%.20q: %v", list, err)
			}
		}
	})
}

func TestPrivateAddresses(t *testing.T) {
	server := open(t, p2p.Options{})
	client, err := p2p.Open(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := get(t.Context(), client.RoundTripper(server.Info(), "/x"), "/"); !errors.Is(err, ad.ErrPrivate) {
		t.Errorf("%v", err)
	}
	if err := client.Connect(t.Context(), server.Info()); !errors.Is(err, ad.ErrPrivate) {
		t.Errorf("%v", err)
	}
}

// One peer cannot have more streams than it is allowed, and other peers are not affected.
func TestStreamLimit(t *testing.T) {
	server := open(t, p2p.Options{PeerStreams: 8})
	release := make(chan struct{})
	wait := func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
	}
	if err := server.Serve("/x", http.HandlerFunc(wait)); err != nil {
		t.Fatal(err)
	}
	greedy, modest := open(t, p2p.Options{}), open(t, p2p.Options{})
	ended := make(chan error)
	for range 20 {
		go func() {
			res, err := get(t.Context(), greedy.RoundTripper(server.Info(), "/x"), "/wait")
			if err == nil {
				_ = res.Body.Close()
			}
			ended <- err
		}()
	}
	for range 20 - 8 { // at least so many are refused at once
		if err := <-ended; err == nil {
			t.Error("answered before its time")
		}
	}
	if res, err := get(t.Context(), modest.RoundTripper(server.Info(), "/x"), "/"); err != nil {
		t.Error(err)
	} else {
		_ = res.Body.Close()
	}
	close(release)
	for range 8 {
		<-ended
	}
}

func TestClose(t *testing.T) {
	h, err := p2p.Open(&p2p.Options{Listen: local})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Serve("/x", http.NotFoundHandler()); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Join("/topic"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := h.Serve("/y", http.NotFoundHandler()); err == nil {
		t.Error("serves after it was closed")
	}
	if _, err := h.Join("/other"); err == nil {
		t.Error("joins after it was closed")
	}
}
