package indexer

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ipnihttp"
)

// Imported counts what an import made known.
type Imported struct {
	Publishers int      `json:"publishers"`
	Failed     []string `json:"failed,omitempty"` // why some were not
}

// add announces a publisher, or remembers why that failed.
func (i *Imported) add(ctx context.Context, s *Service, head cid.Cid, publisher peer.AddrInfo) {
	if err := s.ingester.Announce(ctx, head, publisher); err != nil {
		i.Failed = append(i.Failed, fmt.Sprintf("%s: %v", publisher.ID, err))
		return
	}
	i.Publishers++
}

// importPublishers follows the publishers that another index knows.
func (s *Service) importPublishers(ctx context.Context, indexer string) (*Imported, error) {
	client, err := ipnihttp.NewClient(indexer, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	done, seen := &Imported{}, map[peer.ID]bool{}
	for info, err := range client.Providers(ctx) {
		if err != nil {
			return done, err
		}
		if info.Publisher == nil || seen[info.Publisher.ID] {
			continue
		}
		seen[info.Publisher.ID] = true
		done.add(ctx, s, info.LastAdvertisement, *info.Publisher)
	}
	return done, nil
}

// importMirror follows the chains that the mirror has.
func (s *Service) importMirror(ctx context.Context) (*Imported, error) {
	if s.chains.mirror == nil {
		return nil, fmt.Errorf("indexer: mirror.store is not set: %w", fs.ErrInvalid)
	}
	done := &Imported{}
	for head, err := range s.chains.mirror.Heads(ctx) {
		if err != nil {
			return done, err
		}
		done.add(ctx, s, head.Ad, peer.AddrInfo{ID: head.Provider})
	}
	return done, nil
}
