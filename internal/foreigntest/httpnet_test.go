package foreigntest_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	bitswap "github.com/ipfs/boxo/bitswap/client"
	"github.com/ipfs/boxo/bitswap/network/httpnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/test"
	"github.com/libp2p/go-libp2p/p2p/host/peerstore/pstoremem"
	"github.com/multiformats/go-multiaddr"
)

// lonely is a libp2p host that neither listens nor dials: boxo's client over HTTP
// needs only a name, a memory of addresses and someone to tag peers at.
type lonely struct {
	host.Host
	id    peer.ID
	peers peerstore.Peerstore
}

func (l lonely) ID() peer.ID                      { return l.id }
func (l lonely) Peerstore() peerstore.Peerstore   { return l.peers }
func (l lonely) ConnManager() connmgr.ConnManager { return connmgr.NullConnMgr{} }

// provider is a routing system that knows the node alone, and where it is. A client
// that was too slow for its own timeouts finds it again by this.
type provider struct{ peer.AddrInfo }

func (p provider) FindProvidersAsync(context.Context, cid.Cid, int) <-chan peer.AddrInfo {
	found := make(chan peer.AddrInfo, 1)
	found <- p.AddrInfo
	close(found)
	return found
}

// exchange is a DAG service that fetches blocks from the node as Kubo and Rainbow
// do: bitswap sessions over HTTP/2 with TLS.
// What was fetched goes to the store.
func exchange(t *testing.T, n *running, store blockstore.Blockstore) ipld.DAGService {
	t.Helper()
	peers, err := pstoremem.NewPeerstore()
	must(t, err)
	t.Cleanup(func() { peers.Close() })
	self, err := test.RandPeerID()
	must(t, err)
	network := httpnet.New(lonely{id: self, peers: peers}, httpnet.WithInsecureSkipVerify(true), httpnet.WithAllowlist([]string{"127.0.0.1"}))
	id, err := test.RandPeerID()
	must(t, err)
	u, err := url.Parse(n.url)
	must(t, err)
	addr, err := multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/%s/tcp/%s/%s", u.Hostname(), u.Port(), u.Scheme))
	must(t, err)
	node := provider{peer.AddrInfo{ID: id, Addrs: []multiaddr.Multiaddr{addr}}}
	client := bitswap.New(t.Context(), network, node, store)
	t.Cleanup(func() { client.Close() })
	network.Start(client)
	t.Cleanup(network.Stop)
	// The probe: HEAD and GET of the empty identity CID, HTTP/2 demanded.
	must(t, network.Connect(t.Context(), node.AddrInfo))
	return merkledag.NewDAGService(blockservice.New(store, client))
}

// fetchAll fetches a DAG. On a machine that is busy, the client sometimes forgets a
// block that it wants and waits forever with no request under way; a new client goes
// on with what is there.
func fetchAll(t *testing.T, n *running, root cid.Cid) ipld.DAGService {
	t.Helper()
	store := newBoxoStore().Blockstore
	for attempt := 1; ; attempt++ {
		dag := exchange(t, n, store)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		err := merkledag.FetchGraph(ctx, root, dag)
		cancel()
		if err == nil {
			return dag
		}
		if attempt == 5 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("attempt %d: %v", attempt, err)
		}
	}
}

// Neither of these runs in parallel, as the client gives a request five seconds.
func TestBitswapOverHTTP(t *testing.T) {
	n := start(t, true)
	dir, _ := site(t)
	original := onDisk(t, dir)
	for _, profile := range []string{"v0", "blake3"} {
		t.Run(profile, func(t *testing.T) {
			root, err := cid.Decode(n.add(t, dir, profiles()[profile]...))
			must(t, err)
			dag := fetchAll(t, n, root)
			if diff := cmp.Diff(original, inDAG(t, dag, root)); diff != "" {
				t.Errorf("the tree (-original +bitswap):\n%s", diff)
			}
		})
	}
}

// A block that the node lacks must not make the client give the node up.
func TestBitswapAfterAbsence(t *testing.T) {
	n := start(t, true)
	file, data := filepath.Join(t.TempDir(), "file"), random(1, 100_000)
	must(t, os.WriteFile(file, data, 0o600))
	root, err := cid.Decode(n.add(t, file, "--chunk-size", "10000"))
	must(t, err)
	dag := exchange(t, n, newBoxoStore().Blockstore)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	absent := merkledag.NewRawNode([]byte("nobody has this")).Cid()
	if _, err := dag.Get(ctx, absent); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an absent block: error %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, merkledag.FetchGraph(ctx, root, dag))
	want := tree{}
	want.file(".", data)
	if diff := cmp.Diff(want, inDAG(t, dag, root)); diff != "" {
		t.Errorf("after an absent block (-want +got):\n%s", diff)
	}
}
