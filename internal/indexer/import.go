package indexer

import (
	"context"
	"fmt"
	"io/fs"
	"sync"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/hashstream/hashstream/ipni/ipnihttp"
)

// Imported counts what an import made known.
type Imported struct {
	Publishers int      `json:"publishers"`
	Failed     []string `json:"failed,omitempty"` // why some were not
}

// importing is how many publishers are announced at once: where nodes share them, an
// announcement waits for somebody to follow the publisher.
const importing = 32

// importer announces publishers.
type importer struct {
	s    *Service
	work errgroup.Group

	mu   sync.Mutex
	done Imported
}

func (s *Service) importer() *importer {
	i := &importer{s: s}
	i.work.SetLimit(importing)
	return i
}

// add announces a publisher, or remembers why that failed.
func (i *importer) add(ctx context.Context, head cid.Cid, publisher peer.AddrInfo) {
	i.work.Go(func() error {
		err := handing{announced{i.s.ingester}, i.s.shard}.Announce(ctx, head, publisher)
		i.mu.Lock()
		defer i.mu.Unlock()
		if err != nil {
			i.done.Failed = append(i.done.Failed, fmt.Sprintf("%s: %v", publisher.ID, err))
		} else {
			i.done.Publishers++
		}
		return nil
	})
}

// wait returns what was announced.
func (i *importer) wait() *Imported {
	_ = i.work.Wait() // what failed is in done
	return &i.done
}

// importPublishers follows the publishers that another index knows.
func (s *Service) importPublishers(ctx context.Context, indexer string) (*Imported, error) {
	client, err := ipnihttp.NewClient(indexer, nil)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	all, seen := s.importer(), map[peer.ID]bool{}
	for info, err := range client.Providers(ctx) {
		if err != nil {
			return all.wait(), err
		}
		if info.Publisher == nil || seen[info.Publisher.ID] {
			continue
		}
		seen[info.Publisher.ID] = true
		all.add(ctx, info.LastAdvertisement, *info.Publisher)
	}
	return all.wait(), nil
}

// importMirror follows the chains that the mirror has.
func (s *Service) importMirror(ctx context.Context) (*Imported, error) {
	if s.chains.mirror == nil {
		return nil, fmt.Errorf("indexer: mirror.store is not set: %w", fs.ErrInvalid)
	}
	all := s.importer()
	for head, err := range s.chains.mirror.Heads(ctx) {
		if err != nil {
			return all.wait(), err
		}
		all.add(ctx, head.Ad, peer.AddrInfo{ID: head.Provider})
	}
	return all.wait(), nil
}
