package indexer

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/maypok86/otter/v2"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/blob"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/indexer/mirrored"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/mirror"
	"github.com/hashstream/hashstream/p2p"
)

// recentBytes is how much of what was fetched is remembered for the mirror.
const recentBytes = 128 << 20

// chains opens the chains of publishers: over HTTP, over libp2p, and out of a mirror.
type chains struct {
	http   *http.Transport
	host   *p2p.Host // nil without libp2p
	mirror *mirror.Mirror
	writer *mirror.Writer // nil if nothing is written
	mode   string         // mirror.read
	recent *otter.Cache[cid.Cid, []byte]
}

func (s *Service) openChains(ctx context.Context) error {
	c := &chains{http: ipnisync.NewTransport(s.config.Ingest.AllowPrivate), mode: s.config.Mirror.Read}
	s.chains = c
	if listen := s.config.P2P.Listen; len(listen) > 0 {
		o := &p2p.Options{Key: s.key, AllowPrivate: s.config.Ingest.AllowPrivate}
		for _, text := range listen {
			a, err := multiaddr.NewMultiaddr(text)
			if err != nil {
				return fmt.Errorf("indexer: p2p.listen %q: %w: %w", text, fs.ErrInvalid, err)
			}
			o.Listen = append(o.Listen, a)
		}
		host, err := p2p.Open(o)
		if err != nil {
			return err
		}
		c.host, s.closers = host, append(s.closers, host)
	}
	if s.config.Mirror.Store == "" {
		return nil
	}
	g, closer, err := backends.Getter(ctx, s.config.Home, s.config.Mirror.Store, s.node.Backend)
	if err != nil {
		return err
	}
	s.closers = append(s.closers, closer)
	return c.openMirror(ctx, g, s.config.Mirror.Write)
}

func (c *chains) openMirror(ctx context.Context, g blob.Getter, write bool) (err error) {
	if !write {
		c.mirror, err = mirror.Open(ctx, g, nil)
		return err
	}
	store, ok := g.(mirror.Store)
	if !ok {
		return fmt.Errorf("indexer: mirror.store can only be read; set mirror.write = false: %w", fs.ErrPermission)
	}
	if c.writer, err = mirror.OpenWriter(ctx, store, nil); err != nil {
		return err
	}
	c.mirror = c.writer.Mirror
	c.recent, err = otter.New(&otter.Options[cid.Cid, []byte]{
		MaximumWeight: recentBytes, Weigher: func(_ cid.Cid, b []byte) uint32 { return uint32(len(b)) + 100 },
	})
	return err
}

// open returns the chain of a publisher as the configuration has it read.
func (c *chains) open(_ context.Context, publisher peer.AddrInfo) (ipni.Chain, error) {
	if c.mirror != nil && c.mode == "only" {
		return mirrored.New(c.mirror, publisher.ID), nil
	}
	chain, err := c.remote(publisher)
	if c.mirror != nil && c.mode == "first" {
		if err != nil { // what is in the mirror needs no address
			return c.mirror.Chain(publisher.ID, nil, mirror.Only), nil
		}
		return c.mirror.Chain(publisher.ID, chain, mirror.First), nil
	}
	if err == nil && c.recent != nil {
		chain = remembering{chain, c.recent}
	}
	return chain, err
}

// remote returns the chain that the publisher serves: over HTTP if it has such an address,
// else over libp2p.
func (c *chains) remote(publisher peer.AddrInfo) (ipni.Chain, error) {
	for _, a := range publisher.Addrs {
		if _, err := ad.URL(a); err == nil {
			return ipnisync.New(publisher, &ipnisync.Options{Transport: c.http})
		}
	}
	if c.host == nil {
		return nil, fmt.Errorf("indexer: publisher %s has no HTTP address among %v, and p2p.listen is not set: %w", publisher.ID, publisher.Addrs, fs.ErrInvalid)
	}
	return ipnisync.Over(publisher.ID, c.host.RoundTripper(publisher, ipnisync.Path), nil), nil
}

// remembering remembers blocks that the mirror will ask for.
type remembering struct {
	ipni.Chain
	recent *otter.Cache[cid.Cid, []byte]
}

// Block returns a block.
func (r remembering) Block(ctx context.Context, b cid.Cid, kind ipni.Kind) ([]byte, error) {
	if data, ok := r.recent.GetIfPresent(b); ok {
		return data, nil
	}
	data, err := r.Chain.Block(ctx, b, kind)
	if err == nil {
		r.recent.Set(b, data)
	}
	return data, err
}

// Close closes the chain.
func (r remembering) Close() error { return closeChain(r.Chain) }

func closeChain(c ipni.Chain) error {
	if closer, ok := c.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}
