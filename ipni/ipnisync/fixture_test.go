package ipnisync_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipld/go-ipld-prime"
	cidlink "github.com/ipld/go-ipld-prime/linking/cid"
	"github.com/ipld/go-ipld-prime/storage/memstore"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnisync"
)

func newKey(tb testing.TB) (crypto.PrivKey, peer.ID) {
	tb.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	return key, id
}

// memChain is a chain in memory.
type memChain struct {
	mu     sync.Mutex
	head   cid.Cid
	blocks map[cid.Cid][]byte
	kinds  []ipni.Kind
	err    error // of everything, if set
}

func (m *memChain) Head(context.Context) (cid.Cid, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil && !m.head.Defined() {
		return cid.Undef, fs.ErrNotExist
	}
	return m.head, m.err
}

func (m *memChain) Block(_ context.Context, c cid.Cid, kind ipni.Kind) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kinds = append(m.kinds, kind)
	if m.err != nil {
		return nil, m.err
	}
	if b, ok := m.blocks[c]; ok {
		return b, nil
	}
	return nil, fs.ErrNotExist
}

// newChain makes a chain of n advertisements, each with a chunk of two multihashes.
func newChain(tb testing.TB, key crypto.PrivKey, n int) *memChain {
	tb.Helper()
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	m := &memChain{blocks: map[cid.Cid][]byte{}}
	for i := range n {
		mhs := append(ipni.Multihashes{0, 1, byte(i)}, 0, 2, byte(i), 1)
		entries, block, err := ad.EncodeChunk(mhs, cid.Undef)
		if err != nil {
			tb.Fatal(err)
		}
		m.blocks[entries] = block
		a := ad.Ad{Previous: m.head, Provider: id, Entries: entries, ContextID: []byte{byte(i)}, Metadata: []byte{0x80, 0x12}}
		if m.head, block, err = ad.New(a, key); err != nil {
			tb.Fatal(err)
		}
		m.blocks[m.head] = block
	}
	return m
}

// linkSystem returns go-libipni's view of a store, with the chain's blocks in it.
func linkSystem(m *memChain) (ipld.LinkSystem, *memstore.Store) {
	store := &memstore.Store{Bag: map[string][]byte{}}
	for c, b := range m.blocks {
		store.Bag[c.KeyString()] = b
	}
	system := cidlink.DefaultLinkSystem()
	system.SetReadStorage(store)
	system.SetWriteStorage(store)
	return system, store
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
