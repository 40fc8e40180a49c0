package indexer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/url"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/publish"
)

func (s *Service) openPublish(ctx context.Context) error {
	if !s.has(RolePublish) {
		return nil
	}
	blobs, closer, err := backends.Store(ctx, s.config.Home, s.config.Publish.Store, s.node.Backend)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, closer)
	o := &publish.Options{Log: s.log}
	if len(s.config.Publish.Announce) > 0 {
		announcer, err := ingesthttp.NewAnnouncer(s.config.Publish.Announce, nil)
		if err != nil {
			return err
		}
		s.closers = append(s.closers, announcer)
		o.Announce = func(ctx context.Context, head cid.Cid) error {
			addrs, err := s.publicAddrs()
			if err != nil {
				return err
			}
			return announcer.Announce(ctx, head, peer.AddrInfo{ID: s.id, Addrs: addrs})
		}
	}
	s.publisher, err = publish.Open(ctx, s.state, blobs, s.key, o)
	if err != nil || s.chains.host == nil {
		return err
	}
	return s.chains.host.Serve(ipnisync.Path, ipnisync.Handler(s.publisher, s.key, &ipnisync.HandlerOptions{Log: s.log}))
}

// publicAddrs are where others reach the gateway, which serves the chain too.
func (s *Service) publicAddrs() ([]multiaddr.Multiaddr, error) {
	texts := s.config.Publish.Addresses
	if len(texts) > 0 {
		addrs := make([]multiaddr.Multiaddr, len(texts))
		for i, text := range texts {
			a, err := multiaddr.NewMultiaddr(text)
			if err != nil {
				return nil, fmt.Errorf("indexer: publish.addresses %q: %w: %w", text, fs.ErrInvalid, err)
			}
			addrs[i] = a
		}
		return addrs, nil
	}
	s.mu.Lock()
	gateway := s.address
	s.mu.Unlock()
	u, err := url.Parse(gateway)
	if err != nil {
		return nil, err
	}
	a, err := ad.Addr(u)
	if err != nil {
		return nil, fmt.Errorf("indexer: publish.addresses is not set, and %q is no address that others can use: %w", gateway, err)
	}
	return []multiaddr.Multiaddr{a}, nil
}

// runPublish makes the chain say what the node holds, and tells indexers, until ctx ends.
func (s *Service) runPublish(ctx context.Context) error {
	if s.publisher == nil {
		return nil
	}
	addrs, err := s.publicAddrs()
	if err != nil {
		return err
	}
	if err := s.publisher.SetAddrs(ctx, addrs); err != nil {
		return err
	}
	announced := make(chan error, 1)
	go func() { announced <- s.publisher.Run(ctx) }()
	for tick := time.NewTicker(s.config.Publish.Interval.Std()); ; {
		if err := s.advertise(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("publish", "error", err)
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return <-announced
		case <-tick.C:
		}
	}
}

// held yields what the node holds. An index that is read anew remembers no place of a pack that
// was removed meanwhile.
func (s *Service) held(ctx context.Context) iter.Seq2[publish.Item, error] {
	return publish.Roots(index.New(s.node.Keys, nil))(ctx)
}

// advertise puts what was added and removes what was removed.
func (s *Service) advertise(ctx context.Context) error {
	done, err := s.publisher.Reconcile(ctx, s.held(ctx), nil)
	if errors.Is(err, publish.ErrMass) {
		err = fmt.Errorf("%w; if that is meant, run 'hashstream ipni advertise --remove-all'", err)
	}
	if err != nil {
		return err
	}
	if done.Put+done.Removed > 0 {
		s.log.Info("advertised", "items", done.Items, "put", done.Put, "removed", done.Removed)
	}
	_, err = s.publisher.Sweep(ctx)
	return err
}
