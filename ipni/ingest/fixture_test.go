package ingest_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
)

// identity is a key with its peer id.
type identity struct {
	key crypto.PrivKey
	id  peer.ID
}

func newIdentity(n byte) identity {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{n}, 64)))
	if err != nil {
		panic(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		panic(err)
	}
	return identity{key, id}
}

func addr(text string) multiaddr.Multiaddr {
	a, err := multiaddr.NewMultiaddr(text)
	if err != nil {
		panic(err)
	}
	return a
}

// publisher is a publisher with a chain in memory: real blocks with real signatures,
// and whatever can be wrong with having them.
type publisher struct {
	identity
	addr multiaddr.Multiaddr

	mu      sync.Mutex
	blocks  map[cid.Cid][]byte
	signed  cid.Cid // the head
	faults  map[cid.Cid]error
	headErr error
	fetched map[cid.Cid]int
	heads   int
	onBlock func(ctx context.Context, c cid.Cid) error
	onHead  func() error
}

func newPublisher(n byte) *publisher {
	return &publisher{
		identity: newIdentity(n), addr: addr(fmt.Sprintf("/ip4/8.8.8.%d/tcp/80/http", n)),
		blocks: map[cid.Cid][]byte{}, faults: map[cid.Cid]error{}, fetched: map[cid.Cid]int{},
	}
}

func (p *publisher) info() peer.AddrInfo {
	return peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{p.addr}}
}

func (p *publisher) Head(context.Context) (cid.Cid, error) {
	p.mu.Lock()
	hook := p.onHead
	p.mu.Unlock()
	if hook != nil {
		if err := hook(); err != nil {
			return cid.Undef, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.heads++
	if p.headErr == nil && !p.signed.Defined() {
		return cid.Undef, fs.ErrNotExist
	}
	return p.signed, p.headErr
}

func (p *publisher) Block(ctx context.Context, c cid.Cid, _ ipni.Kind) ([]byte, error) {
	p.mu.Lock()
	hook, err := p.onBlock, p.faults[c]
	block, ok := p.blocks[c]
	p.fetched[c]++
	p.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, c); err != nil {
			return nil, err
		}
	}
	switch {
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case !ok:
		return nil, fs.ErrNotExist
	}
	return block, nil
}

// do changes what the publisher does while it is asked.
func (p *publisher) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// asked returns how often the head was asked for.
func (p *publisher) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heads
}

// fault makes a block fail, nil ends that.
func (p *publisher) fault(c cid.Cid, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		delete(p.faults, c)
		return
	}
	p.faults[c] = err
}

func (p *publisher) count(c cid.Cid) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[c]
}

func (p *publisher) setHead(c cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signed = c
}

func (p *publisher) head() cid.Cid {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.signed
}

func (p *publisher) store(c cid.Cid, block []byte) cid.Cid {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocks[c] = block
	return c
}

// put stores a block of dag-json that no library would make.
func (p *publisher) put(block string) cid.Cid {
	sum, err := multihash.Sum([]byte(block), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return p.store(cid.NewCidV1(cid.DagJSON, sum), []byte(block))
}

// entries stores chunks of at most size multihashes and returns the first one.
func (p *publisher) entries(t testing.TB, size int, mhs ...multihash.Multihash) cid.Cid {
	t.Helper()
	next := cid.Undef
	for end := len(mhs); end > 0; {
		start := max(0, (end-1)/size*size)
		var all ipni.Multihashes
		for _, mh := range mhs[start:end] {
			all = append(all, mh...)
		}
		c, block, err := ad.EncodeChunk(all, next)
		if err != nil {
			t.Fatal(err)
		}
		next, end = p.store(c, block), start
	}
	return next
}

// extend adds an advertisement to the chain: a.Previous is the head, and the provider
// is the publisher if there is none.
func (p *publisher) extend(t testing.TB, a ad.Ad) cid.Cid {
	t.Helper()
	c := p.build(t, a, p.identity)
	p.setHead(c)
	return c
}

func (p *publisher) build(t testing.TB, a ad.Ad, signer identity, extended ...crypto.PrivKey) cid.Cid {
	t.Helper()
	if !a.Previous.Defined() {
		a.Previous = p.head()
	}
	if a.Provider == "" {
		a.Provider = p.id
	}
	if a.Addrs == nil {
		a.Addrs = []multiaddr.Multiaddr{p.addr}
	}
	c, block, err := ad.New(a, signer.key, extended...)
	if err != nil {
		t.Fatal(err)
	}
	return p.store(c, block)
}

// add extends the chain by a context with multihashes.
func (p *publisher) add(t testing.TB, context string, mhs ...multihash.Multihash) cid.Cid {
	t.Helper()
	return p.extend(t, ad.Ad{ContextID: []byte(context), Metadata: metadata(0), Entries: p.entries(t, 3, mhs...)})
}

func (p *publisher) remove(t testing.TB, context string) cid.Cid {
	t.Helper()
	return p.extend(t, ad.Ad{ContextID: []byte(context), Remove: true})
}

func metadata(n byte) []byte { return []byte{0x80, 0x12, n} }

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(fmt.Appendf(nil, "content %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func decodeAd(t testing.TB, p *publisher, c cid.Cid) *ad.Ad {
	t.Helper()
	a, err := ad.Decode(c, p.blocks[c])
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func decodeEntries(t testing.TB, p *publisher, c cid.Cid) ad.Entries {
	t.Helper()
	e, err := ad.DecodeEntries(c, p.blocks[c])
	if err != nil {
		t.Fatal(err)
	}
	return e
}
