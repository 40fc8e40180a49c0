package interop

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/metadata"
	provider "github.com/ipni/index-provider"
	"github.com/ipni/index-provider/engine"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

// publisher is the engine of index-provider with contexts of made-up multihashes.
type publisher struct {
	*engine.Engine
	t    *testing.T
	key  crypto.PrivKey
	id   peer.ID
	addr string // where its content is to be had
	host host.Host

	mu       sync.Mutex
	contexts map[string][]multihash.Multihash
	chain    []cid.Cid // oldest first
}

// newPublisher starts an engine that announces to the indexer at announceURL.
func newPublisher(t *testing.T, announceURL string, kind engine.PublisherKind, more ...engine.Option) *publisher {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	must(t, err)
	id, err := peer.IDFromPrivateKey(key)
	must(t, err)
	h, err := libp2p.New(libp2p.Identity(key), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	must(t, err)
	t.Cleanup(func() { h.Close() })
	p := &publisher{t: t, key: key, id: id, addr: "/ip4/127.0.0.1/tcp/9999", host: h, contexts: map[string][]multihash.Multihash{}}
	retrieval, err := multiaddr.NewMultiaddr(p.addr)
	must(t, err)
	options := []engine.Option{
		engine.WithPrivateKey(key), engine.WithHost(h),
		engine.WithProvider(peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{retrieval}}),
		engine.WithPublisherKind(kind),
		engine.WithDirectAnnounce(announceURL), engine.WithPubsubAnnounce(false),
		engine.WithChainedEntries(100),
	}
	if kind != engine.Libp2pPublisher {
		port := freePort(t)
		options = append(options, engine.WithHttpPublisherListenAddr(fmt.Sprintf("127.0.0.1:%d", port)),
			engine.WithHttpPublisherAnnounceAddr(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/http", port)))
	}
	p.Engine, err = engine.New(append(options, more...)...)
	must(t, err)
	p.RegisterMultihashLister(p.list)
	must(t, p.Start(t.Context()))
	t.Cleanup(func() { p.Shutdown() })
	return p
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func (p *publisher) list(_ context.Context, _ peer.ID, contextID []byte) (provider.MultihashIterator, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return provider.SliceMultihashIterator(p.contexts[string(contextID)]), nil
}

// put publishes n multihashes under a context.
func (p *publisher) put(contextID string, n int) (cid.Cid, []multihash.Multihash) {
	p.t.Helper()
	mhs := multihashes(p.t, p.id.String()+contextID, n)
	p.mu.Lock()
	p.contexts[contextID] = mhs
	p.mu.Unlock()
	c, err := p.NotifyPut(p.t.Context(), nil, []byte(contextID), metadata.Default.New(metadata.Bitswap{}))
	must(p.t, err)
	p.chain = append(p.chain, c)
	return c, mhs
}

func (p *publisher) remove(contextID string) cid.Cid {
	p.t.Helper()
	c, err := p.NotifyRemove(p.t.Context(), "", []byte(contextID))
	must(p.t, err)
	p.chain = append(p.chain, c)
	return c
}

// multihashes returns n multihashes that only the seed decides.
func multihashes(t *testing.T, seed string, n int) []multihash.Multihash {
	t.Helper()
	mhs := make([]multihash.Multihash, n)
	for i := range mhs {
		mh, err := multihash.Sum(binary.BigEndian.AppendUint64([]byte(seed), uint64(i)), multihash.SHA2_256, -1)
		must(t, err)
		mhs[i] = mh
	}
	return mhs
}

// settled waits until an indexer has all that was published. What is newest comes first, so
// that the head is indexed does not say so.
func (p *publisher) settled(n *node) {
	p.t.Helper()
	for _, c := range p.chain {
		n.eventually("an advertisement is done with", func() bool {
			state := n.adStatus(c).State
			return state == "indexed" || state == "skipped" // its context was removed later
		})
	}
}
