// Package p2p is everything that needs libp2p: a host with limits, HTTP over its
// streams, and the gossip topic that announces advertisements.
//
//   - [Host.RoundTripper] and [Host.Serve] are the two ends of [HTTP over libp2p], with the
//     discovery of protocols at a well-known path. Package ipnisync reads and serves chains
//     of advertisements over them.
//   - [Host.Join] joins a topic of gossipsub, as go-libipni does.
//
// A host is for strangers. What they can make it use is limited, as [Options] says, and
// it does not dial addresses that are not public unless it is told to.
//
// # Errors
//
// An address that must not be dialed matches [ad.ErrPrivate], and a peer that does not
// speak a protocol [ErrProtocol].
//
// A Host is safe for concurrent use. It runs goroutines until it is closed.
//
// [HTTP over libp2p]: https://github.com/libp2p/specs/blob/master/http/README.md
package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	libp2phttp "github.com/libp2p/go-libp2p/p2p/http"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/hashstream/hashstream/ipni/ad"
)

// Defaults of [Options].
const (
	defaultMemory      = 128 << 20
	defaultConns       = 256
	defaultPeerStreams = 64
	userAgent          = "hashstream"
)

// Options adjusts a [Host]. A nil Options or a zero field means the default.
type Options struct {
	Key          crypto.PrivKey        // the host's identity; default a new one
	Listen       []multiaddr.Multiaddr // default none: it only dials
	AllowPrivate bool                  // dial addresses that are not public; default not

	Memory      int64 // bytes of buffers of all connections; default 128 MiB
	Conns       int   // connections, each way; default 256. What idles above three quarters of it is closed
	PeerStreams int   // streams of one peer, each way; default 64
}

// Host is a peer of libp2p.
type Host struct {
	host host.Host

	mu        sync.Mutex // of what follows
	closed    bool
	mux       *http.ServeMux
	protocols map[string]bool // paths in mux
	wellKnown *libp2phttp.WellKnownHandler
	server    *http.Server
	served    chan struct{} // closed when server has ended
	gossip    *pubsub.PubSub
	cancel    context.CancelFunc // of gossip
	topics    map[string]bool
}

var errClosed = errors.New("p2p: the host is closed")

// Open makes a host and listens. Close must be called.
func Open(o *Options) (*Host, error) {
	if o == nil {
		o = &Options{}
	}
	resources, err := limits(o)
	if err != nil {
		return nil, fmt.Errorf("p2p: open: %w", err)
	}
	conns := orDefault(o.Conns, defaultConns)
	manager, err := connmgr.NewConnManager(conns/2, conns*3/4)
	if err != nil {
		return nil, fmt.Errorf("p2p: open: %w", errors.Join(err, resources.Close()))
	}
	options := []libp2p.Option{
		libp2p.ResourceManager(resources), libp2p.ConnectionManager(manager), libp2p.ConnectionGater(gater{o.AllowPrivate}),
		libp2p.UserAgent(userAgent), libp2p.DisableMetrics(), libp2p.NoListenAddrs,
	}
	if o.Key != nil {
		options = append(options, libp2p.Identity(o.Key))
	}
	if len(o.Listen) > 0 {
		options = append(options, libp2p.ListenAddrs(o.Listen...), libp2p.DisableRelay())
	}
	h, err := libp2p.New(options...)
	if err != nil {
		return nil, fmt.Errorf("p2p: open: %w", err)
	}
	return &Host{host: h, protocols: map[string]bool{}, topics: map[string]bool{}}, nil
}

func orDefault[T int | int64](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}

// limits bounds what all peers, and each, may use.
func limits(o *Options) (network.ResourceManager, error) {
	conns, streams := orDefault(o.Conns, defaultConns), orDefault(o.PeerStreams, defaultPeerStreams)
	memory := orDefault(o.Memory, defaultMemory)
	scaling := rcmgr.DefaultLimits
	libp2p.SetDefaultServiceLimits(&scaling)
	own := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(2 * conns), ConnsInbound: rcmgr.LimitVal(conns), ConnsOutbound: rcmgr.LimitVal(conns), FD: rcmgr.LimitVal(2 * conns),
			Streams: rcmgr.LimitVal(2 * conns * streams), StreamsInbound: rcmgr.LimitVal(conns * streams), StreamsOutbound: rcmgr.LimitVal(conns * streams),
			Memory: rcmgr.LimitVal64(memory),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Streams: rcmgr.LimitVal(2 * streams), StreamsInbound: rcmgr.LimitVal(streams), StreamsOutbound: rcmgr.LimitVal(streams),
		},
	}
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(own.Build(scaling.Scale(memory, 2*conns))), rcmgr.WithMetricsDisabled())
}

// ID returns the host's peer id.
func (h *Host) ID() peer.ID { return h.host.ID() }

// Info returns the host's peer id and the addresses at which it listens.
func (h *Host) Info() peer.AddrInfo { return peer.AddrInfo{ID: h.host.ID(), Addrs: h.host.Addrs()} }

// Connect makes sure that there is a connection to a peer.
func (h *Host) Connect(ctx context.Context, to peer.AddrInfo) error {
	if err := h.host.Connect(ctx, to); err != nil {
		return dialError(to.ID, err)
	}
	return nil
}

// Close closes all connections and ends what the host runs.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	server, served, cancel := h.server, h.served, h.cancel
	h.mu.Unlock()
	var err error
	if server != nil {
		err = server.Close()
		<-served
	}
	if cancel != nil {
		cancel()
	}
	if err = errors.Join(err, h.host.Close()); err != nil {
		return fmt.Errorf("p2p: close: %w", err)
	}
	return nil
}

// gater refuses to dial what is not public.
type gater struct{ all bool }

// InterceptAddrDial judges an address after names in it are resolved.
func (g gater) InterceptAddrDial(_ peer.ID, a multiaddr.Multiaddr) bool {
	if g.all {
		return true
	}
	ip, err := manet.ToIP(a)
	if err != nil {
		return false
	}
	parsed, ok := netip.AddrFromSlice(ip)
	return ok && ad.Public(parsed)
}

// InterceptPeerDial allows all peers.
func (gater) InterceptPeerDial(peer.ID) bool { return true }

// InterceptAccept allows whoever connects, within the limits.
func (gater) InterceptAccept(network.ConnMultiaddrs) bool { return true }

// InterceptSecured allows all connections.
func (gater) InterceptSecured(network.Direction, peer.ID, network.ConnMultiaddrs) bool { return true }

// InterceptUpgraded allows all connections.
func (gater) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
