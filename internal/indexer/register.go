package indexer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/registry"
)

// Providers of which nothing is known that may register: anybody can make the keys of many.
const (
	newProviders      = 1 // a second
	newProvidersBurst = 100
)

// registrar takes addresses that providers have signed.
type registrar struct {
	ingester *ingest.Ingester
	registry *registry.Registry
	unknown  *rate.Limiter
}

func (s *Service) registrar() registrar {
	return registrar{s.ingester, s.registry, rate.NewLimiter(newProviders, newProvidersBurst)}
}

// Register stores the addresses of a record.
func (r registrar) Register(ctx context.Context, rec *peer.PeerRecord) error {
	if err := r.ingester.Allowed(rec.PeerID); err != nil {
		return err
	}
	_, err := r.registry.Provider(ctx, rec.PeerID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if !r.unknown.Allow() {
			return fmt.Errorf("indexer: too many new providers: %w", wire.ErrBusy)
		}
	case err != nil:
		return err
	}
	return r.ingester.Register(ctx, peer.AddrInfo{ID: rec.PeerID, Addrs: rec.Addrs}, rec.Seq)
}
