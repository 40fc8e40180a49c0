// Package gossip takes announcements of the libp2p topic of publishers.
//
// # Errors
//
// A malformed address matches [io/fs.ErrInvalid]; what goes wrong later is logged.
//
// Functions are safe for concurrent use, and return when their context ends.
package gossip

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/p2p"
)

// Peers parses multiaddrs with a peer id.
func Peers(texts []string) ([]peer.AddrInfo, error) {
	addrs := make([]multiaddr.Multiaddr, len(texts))
	for i, text := range texts {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			return nil, fmt.Errorf("gossip: %q: %w: %w", text, fs.ErrInvalid, err)
		}
		addrs[i] = a
	}
	peers, err := peer.AddrInfosFromP2pAddrs(addrs...)
	if err != nil {
		return nil, fmt.Errorf("gossip: %w: %w", fs.ErrInvalid, err)
	}
	return peers, nil
}

// meetAgain is the time between attempts to connect to those who are not connected.
const meetAgain = 30 * time.Second

// Meet keeps connections to others until ctx ends, as far as they can be had.
func Meet(ctx context.Context, host *p2p.Host, others []peer.AddrInfo, log *slog.Logger) {
	if len(others) == 0 {
		return
	}
	for tick := time.NewTicker(meetAgain); ; {
		for _, other := range others {
			if err := host.Connect(ctx, other); err != nil && ctx.Err() == nil {
				log.Debug("gossip", "peer", other.ID.String(), "error", err)
			}
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

// pending is how many announcements wait at once for somebody to follow their publisher, where nodes
// share publishers. More than that are let go: publishers announce again.
const pending = 32

// Listen gives announcements of the gossip topic to announce until ctx ends.
func Listen(ctx context.Context, host *p2p.Host, announce func(ctx context.Context, ad cid.Cid, publisher peer.AddrInfo) error, log *slog.Logger) {
	topic, err := host.Join(p2p.MainTopic)
	if err != nil {
		log.Error("gossip", "error", err)
		return
	}
	defer topic.Close()
	var work errgroup.Group
	work.SetLimit(pending)
	defer func() { _ = work.Wait() }() // failures are logged
	for m, err := range topic.All(ctx) {
		if err != nil {
			log.Debug("gossip", "error", err)
			continue
		}
		taken := work.TryGo(func() error {
			if err := announce(ctx, m.CID, peer.AddrInfo{ID: m.Publisher, Addrs: m.Addrs}); err != nil && ctx.Err() == nil {
				log.Debug("gossip", "publisher", m.Publisher.String(), "error", err)
			}
			return nil
		})
		if !taken {
			log.Debug("gossip", "publisher", m.Publisher.String(), "error", "too many announcements at once")
		}
	}
}
