package interop

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/announce/gossiptopic"
	"github.com/ipni/go-libipni/announce/message"
	"github.com/ipni/go-libipni/announce/p2psender"
	"github.com/ipni/index-provider/engine"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

const mainTopic = "/indexer/ingest/mainnet"

// gossiping is the configuration of an indexer that takes announcements of the topic, and
// listens at a port for that.
func gossiping(port int, keys string) string {
	c := strings.Replace(alone, "[ingest]", "[ingest]\ngossip = true\n"+keys, 1)
	return strings.Replace(c, "tcp/0", fmt.Sprintf("tcp/%d", port), 1)
}

// info returns how the libp2p host of a node is reached.
func (n *node) info(port int) peer.AddrInfo {
	n.t.Helper()
	var status struct{ ID peer.ID }
	res, err := http.Get(n.URL["admin"] + "/status")
	must(n.t, err)
	defer res.Body.Close()
	must(n.t, json.NewDecoder(res.Body).Decode(&status))
	return peer.AddrInfo{ID: status.ID, Addrs: []multiaddr.Multiaddr{multiaddr.StringCast(fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port))}}
}

// sender is a foreign member of the topic.
type sender struct {
	host.Host
	*p2psender.Sender
	peers func() []peer.ID
}

func newSender(t *testing.T) *sender {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	must(t, err)
	t.Cleanup(func() { h.Close() })
	topic, leave, err := gossiptopic.MakeTopic(h, mainTopic)
	must(t, err)
	t.Cleanup(leave)
	s, err := p2psender.New(h, mainTopic, p2psender.WithTopic(topic))
	must(t, err)
	return &sender{h, s, topic.ListPeers}
}

// nowhere is where announcements over HTTP are lost.
func nowhere(t *testing.T) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(srv.Close)
	return srv.URL
}

// newSilent starts a publisher that announces to nobody, and returns where its chain is.
func newSilent(t *testing.T) (*publisher, []multiaddr.Multiaddr) {
	t.Helper()
	port := freePort(t)
	addr := fmt.Sprintf("/ip4/127.0.0.1/tcp/%d/http", port)
	p := newPublisher(t, nowhere(t), engine.HttpPublisher,
		engine.WithHttpPublisherListenAddr(fmt.Sprintf("127.0.0.1:%d", port)), engine.WithHttpPublisherAnnounceAddr(addr))
	return p, []multiaddr.Multiaddr{multiaddr.StringCast(addr)}
}

// TestGossip follows publishers that announce on the libp2p topic and nowhere else: the engine of
// index-provider by itself, and one for which go-libipni's sender speaks.
func TestGossip(t *testing.T) {
	port := freePort(t)
	n := newNode(t, gossiping(port, ""))
	if _, body := n.get("/sync/status"); len(body) > 0 {
		t.Fatalf("publishers are known already: %s", body)
	}

	s := newSender(t)
	must(t, s.Connect(t.Context(), n.info(port)))
	n.eventually("the node is in the topic", func() bool { return len(s.peers()) > 0 })
	// What is no announcement, and one of a publisher that is not there, changes nothing.
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	must(t, err)
	nobody, err := peer.IDFromPrivateKey(key)
	must(t, err)

	silent, addrs := newSilent(t)
	head, mhs := silent.put("first", 10)
	time.Sleep(200 * time.Millisecond)
	if st := n.adStatus(head); st.State != "unknown" {
		t.Fatalf("it was announced otherwise: %+v", st)
	}
	for _, orig := range []peer.ID{nobody, silent.id} {
		m := message.Message{Cid: head, OrigPeer: orig.String()}
		m.SetAddrs(addrs)
		must(t, s.Send(t.Context(), m))
	}
	n.indexed(head)
	found(t, n, silent, "first", mhs)
	if code, _ := n.get("/providers/" + nobody.String()); code != http.StatusNotFound {
		t.Errorf("somebody who has no chain is a provider: %d", code)
	}

	// The engine announces by itself, over its own host.
	p := newPublisher(t, nowhere(t), engine.Libp2pPublisher, engine.WithPubsubAnnounce(true), engine.WithTopicName(mainTopic))
	must(t, p.host.Connect(t.Context(), n.info(port)))
	contextID, mhs := gossiped(n, p)
	found(t, n, p, contextID, mhs)
}

// TestGossipPeers connects by itself to members of the topic.
func TestGossipPeers(t *testing.T) {
	s := newSender(t)
	addrs, err := peer.AddrInfoToP2pAddrs(&peer.AddrInfo{ID: s.ID(), Addrs: s.Addrs()})
	must(t, err)
	n := newNode(t, gossiping(freePort(t), fmt.Sprintf("gossip_peers = [%q]", addrs[0])))
	n.eventually("the node is in the topic", func() bool { return len(s.peers()) > 0 })
	p, at := newSilent(t)
	head, mhs := p.put("first", 10)
	m := message.Message{Cid: head, OrigPeer: p.id.String()}
	m.SetAddrs(at)
	must(t, s.Send(t.Context(), m))
	n.indexed(head)
	found(t, n, p, "first", mhs)
}

// gossiped publishes until an advertisement arrives, and returns what that has. Gossip reaches only
// those who are known to be in the topic at that moment, and the same announcement is sent once in two
// minutes, so that only another one can make up for the first.
func gossiped(n *node, p *publisher) (contextID string, mhs []multihash.Multihash) {
	n.t.Helper()
	var head cid.Cid
	var tries int
	next := time.Now()
	n.eventually("an advertisement is indexed", func() bool {
		if tries > 0 && n.adStatus(head).State == "indexed" {
			return true
		}
		if time.Now().After(next) {
			contextID = fmt.Sprint("gossiped ", tries)
			head, mhs = p.put(contextID, 1000)
			tries, next = tries+1, time.Now().Add(5*time.Second)
		}
		return false
	})
	return contextID, mhs
}
