package indexer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/publish"
)

// Request is what a command asks of the node that runs.
type Request struct {
	Op        string `json:"op"`
	Peer      string `json:"peer,omitempty"`       // of a publisher or provider
	Addr      string `json:"addr,omitempty"`       // of it, a multiaddr
	Resync    bool   `json:"resync,omitempty"`     // for OpSync: what was processed too
	Depth     uint64 `json:"depth,omitempty"`      // for OpSync: advertisements at most
	Block     bool   `json:"block,omitempty"`      // for OpRemove: and take nothing of it again
	Indexer   string `json:"indexer,omitempty"`    // for OpImport: the URL of another index
	RemoveAll bool   `json:"remove_all,omitempty"` // for OpAdvertise: any number
	Ad        string `json:"ad,omitempty"`         // for OpAd: the CID

	Together shard.Request `json:"together,omitzero"` // of the nodes that share the index; the rest is not used
}

// The operations.
const (
	OpStatus    = "status"    // answers a [Report], of one publisher or of all
	OpAd        = "ad"        // answers an [ingesthttp.AdStatus]
	OpSync      = "sync"      // reads the chain of a publisher to its end
	OpAllow     = "allow"     // a peer
	OpBlock     = "block"     // a peer
	OpUnlist    = "unlist"    // a peer
	OpRemove    = "remove"    // all of a provider
	OpFreeze    = "freeze"    // take no more entries
	OpUnfreeze  = "unfreeze"  // take them again
	OpImport    = "import"    // follow the publishers that another index knows
	OpMirror    = "mirror"    // follow the chains that the mirror has
	OpAdvertise = "advertise" // what the node holds, now
)

// Report is what a node says of its provider index.
type Report struct {
	ID         string                       `json:"id"`
	Roles      []string                     `json:"roles"`
	Records    int64                        `json:"records,omitempty"`
	Disk       float64                      `json:"disk_percent,omitempty"`
	Frozen     bool                         `json:"frozen,omitempty"`
	Waits      string                       `json:"waits,omitempty"` // why nothing is ingested
	Publishers []ingesthttp.PublisherStatus `json:"publishers,omitempty"`
	Rules      map[string]string            `json:"rules,omitempty"`      // by peer: allowed or blocked
	Head       string                       `json:"head,omitempty"`       // of the own chain
	Partitions map[cluster.State]int        `json:"partitions,omitempty"` // of the shared index that lie here, by state
}

// Command does what a [Request] or an inspect.Request in args asks, and writes what it answers to out as JSON.
func (s *Service) Command(ctx context.Context, args []byte, out io.Writer) error {
	if is, err := s.inspect(ctx, args, out); is {
		return err
	}
	var r Request
	if err := json.Unmarshal(args, &r); err != nil {
		return fmt.Errorf("indexer: command: %w: %w", fs.ErrInvalid, err)
	}
	answer, err := s.do(ctx, r)
	if err != nil || answer == nil {
		return err
	}
	return json.NewEncoder(out).Encode(answer)
}

func (s *Service) do(ctx context.Context, r Request) (any, error) {
	switch {
	case r.Together.Op != "":
		return s.shard.Do(ctx, r.Together)
	case r.Op == OpStatus:
		return s.report(ctx, r.Peer)
	case r.Op == OpAdvertise && s.publisher != nil:
		done, err := s.publisher.Reconcile(ctx, s.held(ctx), &publish.ReconcileOptions{RemoveAll: r.RemoveAll})
		return Advertised(done), err
	case s.ingester == nil:
		return nil, fmt.Errorf("indexer: this node does not ingest: %w", errors.ErrUnsupported)
	case r.Op == OpAd:
		return s.adStatus(ctx, r.Ad)
	case r.Op == OpFreeze:
		return nil, s.ingester.Freeze(ctx)
	case r.Op == OpUnfreeze:
		return nil, s.ingester.Unfreeze(ctx)
	case r.Op == OpImport:
		return s.importPublishers(ctx, r.Indexer)
	case r.Op == OpMirror:
		return s.importMirror(ctx)
	}
	id, err := peer.Decode(r.Peer)
	if err != nil {
		return nil, fmt.Errorf("indexer: peer %q: %w: %w", r.Peer, fs.ErrInvalid, err)
	}
	return nil, s.forPeer(ctx, r, id)
}

// forPeer does what concerns one peer.
func (s *Service) forPeer(ctx context.Context, r Request, id peer.ID) error {
	switch r.Op {
	case OpSync:
		info := peer.AddrInfo{ID: id}
		if r.Addr != "" {
			a, err := multiaddr.NewMultiaddr(r.Addr)
			if err != nil {
				return fmt.Errorf("indexer: address %q: %w: %w", r.Addr, fs.ErrInvalid, err)
			}
			info.Addrs = append(info.Addrs, a)
		}
		return s.ingester.Sync(ctx, info, &ingest.SyncOptions{Resync: r.Resync, Depth: r.Depth})
	case OpAllow:
		return s.ingester.Allow(ctx, id)
	case OpBlock:
		return s.ingester.Block(ctx, id)
	case OpUnlist:
		return s.ingester.Unlist(ctx, id)
	case OpRemove:
		if r.Block {
			if err := s.ingester.Block(ctx, id); err != nil {
				return err
			}
		}
		return s.ingester.Remove(ctx, id)
	}
	return fmt.Errorf("indexer: operation %q: %w", r.Op, fs.ErrInvalid)
}

// Advertised counts what was advertised.
type Advertised struct {
	Items   int `json:"items"`
	Put     int `json:"put"`
	Removed int `json:"removed"`
}

// adStatus says what became of an advertisement.
func (s *Service) adStatus(ctx context.Context, text string) (any, error) {
	c, err := cid.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("indexer: advertisement %q: %w: %w", text, fs.ErrInvalid, err)
	}
	return announced{s.ingester}.Ad(ctx, c)
}

// report says how the node does, and one publisher or all.
func (s *Service) report(ctx context.Context, publisher string) (*Report, error) {
	r := &Report{ID: s.id.String(), Roles: s.config.IPNI.Roles}
	if stats, err := s.stats(ctx); err == nil {
		r.Records = stats.EntriesCount
	}
	r.Disk, _ = s.usage()
	if s.publisher != nil {
		if head, err := s.publisher.Head(ctx); err == nil {
			r.Head = head.String()
		}
	}
	var err error
	if r.Partitions, err = s.shard.Copies(ctx); err != nil || s.ingester == nil {
		return r, err
	}
	r.Frozen = s.ingester.Frozen()
	if _, err := s.ingester.Paused(); err != nil {
		r.Waits = err.Error()
	}
	for id, allowed := range s.ingester.Rules() {
		if r.Rules == nil {
			r.Rules = map[string]string{}
		}
		r.Rules[id.String()] = map[bool]string{true: "allowed", false: "blocked"}[allowed]
	}
	var only peer.ID
	if publisher != "" {
		id, err := peer.Decode(publisher)
		if err != nil {
			return nil, fmt.Errorf("indexer: peer %q: %w: %w", publisher, fs.ErrInvalid, err)
		}
		only = id
	}
	r.Publishers, err = announced{s.ingester}.Publishers(ctx, only)
	return r, err
}
