package ipnisync_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/ipnitest"
)

// newChain makes a chain of n advertisements of the first key.
func newChain(tb testing.TB, n int) *ipnitest.Chain {
	tb.Helper()
	key, _ := ipnitest.Key(1)
	return ipnitest.NewChain(key).Grow(tb, n)
}

// addr returns the address of a test server.
func addr(tb testing.TB, base string) multiaddr.Multiaddr {
	tb.Helper()
	u, err := url.Parse(base)
	if err != nil {
		tb.Fatal(err)
	}
	a, err := ad.Addr(u)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// newClient returns a client of servers, which may be on this machine.
func newClient(tb testing.TB, id peer.ID, o ipnisync.Options, bases ...string) *ipnisync.Client {
	tb.Helper()
	info := peer.AddrInfo{ID: id}
	for _, base := range bases {
		info.Addrs = append(info.Addrs, addr(tb, base))
	}
	o.AllowPrivate = true
	c, err := ipnisync.New(info, &o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}

func newServer(tb testing.TB, h http.Handler) *httptest.Server {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s
}

// readChain reads all blocks of a chain.
func readChain(tb testing.TB, chain ipni.Chain) map[cid.Cid][]byte {
	tb.Helper()
	head, err := chain.Head(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	blocks := map[cid.Cid][]byte{}
	for head.Defined() {
		block, err := chain.Block(tb.Context(), head, ipni.Advertisement)
		if err != nil {
			tb.Fatal(err)
		}
		a, err := ad.Decode(head, block)
		if err != nil {
			tb.Fatal(err)
		}
		entries, err := chain.Block(tb.Context(), a.Entries, ipni.EntryChunk)
		if err != nil {
			tb.Fatal(err)
		}
		blocks[head], blocks[a.Entries] = block, entries
		head = a.Previous
	}
	return blocks
}

func get(tb testing.TB, url string, header ...string) (*http.Response, []byte) {
	tb.Helper()
	req, err := http.NewRequestWithContext(tb.Context(), http.MethodGet, url, nil)
	if err != nil {
		tb.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if _, err := io.Copy(&b, res.Body); err != nil {
		tb.Fatal(err)
	}
	return res, b.Bytes()
}
