package indexer

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"syscall"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/indexer/copying"
	"github.com/hashstream/hashstream/internal/indexer/gossip"
	"github.com/hashstream/hashstream/internal/indexer/shard"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
)

// leaseSlice is how long a turn lasts at most where publishers pass from node to node: shorter
// than what a node that lost a lease has left (see package assign).
const leaseSlice = 3 * time.Second

func (s *Service) openIngest(context.Context) error {
	if !s.has(RoleIngest) {
		return nil
	}
	c := s.config.Ingest
	slice := time.Duration(0)
	if s.shard.Together() {
		slice = leaseSlice
	}
	s.ingester = ingest.New(s.state, s.node.Metrics.Sink(s.index), s.registry, s.chains.open, &ingest.Options{
		Policy: &policy.Options{
			DenyByDefault: c.Publishers == "listed",
			AnyPublisher:  c.PublishFor == "any",
			AllowPrivate:  c.AllowPrivate,
		},
		Unaddressed:  s.chains.mirror != nil && s.chains.mode != "publisher",
		Owns:         s.shard.Owns,
		Slice:        slice,
		Frozen:       func() bool { return s.full() || s.shard.Full() },
		Workers:      c.Workers,
		AdRate:       c.Rate,
		EntryRate:    c.EntryRate,
		PollInterval: c.Poll.Std(),
		Trace:        s.node.Metrics.Trace(s.traceIngest()),
	})
	if s.chains.writer != nil {
		s.copier = copying.New(s.ingester, s.chains.open, s.chains.writer, s.log)
	}
	return nil
}

func (s *Service) runIngest(ctx context.Context) error {
	if s.ingester == nil {
		return nil
	}
	if topic := s.config.Ingest.Gossip; topic && s.chains.host == nil {
		return fmt.Errorf("ingest.gossip needs p2p.listen: %w", fs.ErrInvalid)
	} else if topic {
		peers, err := gossip.Peers(s.config.Ingest.GossipPeers)
		if err != nil {
			return fmt.Errorf("ingest.gossip_peers: %w", err)
		}
		go gossip.Listen(ctx, s.chains.host, handing{announced{s.ingester}, s.shard}.Announce, s.log)
		go gossip.Meet(ctx, s.chains.host, peers, s.log)
	}
	return s.ingester.Run(ctx)
}

// runMirror copies what was ingested until ctx ends.
func (s *Service) runMirror(ctx context.Context) error {
	if s.copier == nil {
		return nil
	}
	return s.copier.Run(ctx)
}

// full reports whether the disk of the records is so full that no more may come.
func (s *Service) full() bool {
	used, ok := s.usage()
	return ok && used >= float64(s.config.Ingest.FreezeAt)
}

// usage returns how full the disk of the records is, in percent of what may be used,
// as df tells it.
func (s *Service) usage() (float64, bool) {
	if s.values == nil || s.values.Dir == "" {
		return 0, false
	}
	var disk syscall.Statfs_t
	if syscall.Statfs(s.values.Dir, &disk) != nil || disk.Blocks == 0 {
		return 0, false
	}
	used := float64(disk.Blocks - disk.Bfree)
	return 100 * used / (used + float64(disk.Bavail)), true
}

// traceIngest logs what operators want to know.
func (s *Service) traceIngest() ingest.Trace {
	return ingest.Trace{
		Ad: func(e ingest.AdEvent) {
			level := slog.LevelDebug
			if e.Status == state.Skipped {
				level = slog.LevelWarn
			}
			s.log.Log(context.Background(), level, "advertisement", "publisher", e.Publisher.String(), "cid", e.CID.String(),
				"status", e.Status.String(), "reason", e.Reason, "multihashes", e.Multihashes, "lag", e.Lag, "took", e.Took)
			if s.copier != nil && e.Lag == 0 {
				s.copier.Changed(e.Publisher)
			}
		},
		Failed: func(publisher peer.ID, err error) {
			s.log.Warn("publisher", "publisher", publisher.String(), "error", err)
		},
		Paused: func(err error) { s.log.Error("ingestion waits", "error", err) },
	}
}

// announced is the ingester as its HTTP handler asks it.
type announced struct{ *ingest.Ingester }

// Publishers returns the status of each publisher, or of one.
func (a announced) Publishers(ctx context.Context, only peer.ID) ([]ingesthttp.PublisherStatus, error) {
	var all []ingest.Status
	if only == "" {
		list, err := a.Statuses(ctx)
		if err != nil {
			return nil, err
		}
		all = list
	} else {
		one, err := a.Status(ctx, only)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	out := make([]ingesthttp.PublisherStatus, len(all))
	for i, st := range all {
		out[i] = publisherStatus(st)
	}
	return out, nil
}

// Ad returns what became of an advertisement.
func (a announced) Ad(ctx context.Context, c cid.Cid) (ingesthttp.AdStatus, error) {
	st, err := a.AdStatus(ctx, c)
	if err != nil {
		return ingesthttp.AdStatus{}, err
	}
	// Its Frozen is the advertisement's, not the node's.
	return ingesthttp.AdStatus{State: ingesthttp.State(st.Status.String()), Reason: st.Reason, Time: st.At, Frozen: st.Frozen && st.Status == state.Pending}, nil
}

func publisherStatus(st ingest.Status) ingesthttp.PublisherStatus {
	return ingesthttp.PublisherStatus{
		Publisher: st.Publisher, Head: st.Head, HeadTime: st.HeadAt, Contact: st.ContactAt, LastAd: st.LastAd, LastTime: st.LastAdAt,
		Ads: st.Ads, Skipped: st.Skipped, Multihashes: st.Multihashes, Lag: st.Lag, Error: st.Error, ErrorTime: st.ErrorAt,
		Next: st.Next, Active: st.Active, Inactive: st.Inactive, Blocked: st.Blocked, Frozen: st.Deferred,
	}
}

// handing passes announcements on to the node that follows the publisher.
type handing struct {
	announced
	shard *shard.Shard
}

// Announce tells that a publisher has something new.
func (h handing) Announce(ctx context.Context, ad cid.Cid, publisher peer.AddrInfo) error {
	return h.shard.Announce(ctx, h.announced.Ingester, ad, publisher)
}
