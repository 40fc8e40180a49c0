package ingest_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// If another node worked on a publisher for a while, what was kept from before does not count.
func TestLeaseMovesAndReturns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunks := []cid.Cid{p.entries(t, 1, hash(0)), p.entries(t, 1, hash(1)), p.entries(t, 1, hash(2)), p.entries(t, 1, hash(3))}
		for i, c := range chunks {
			p.extend(t, ad.Ad{ContextID: []byte{'a' + byte(i)}, Metadata: metadata(1), Entries: c})
		}
		var moved atomic.Bool
		options := func(second bool) *ingest.Options {
			owns := func(peer.ID) bool { return moved.Load() == second }
			return &ingest.Options{Owns: owns, SegmentAds: 2, EntryTries: 1 << 30}
		}
		n := newNode(p)
		other := &node{kv: n.kv, sink: n.sink, registry: n.registry, publishers: n.publishers}
		p.fault(chunks[2], errBroken)
		n.start(t, options(false))
		n.Sync(t.Context(), p.info(), nil)
		time.Sleep(time.Hour)
		if next := n.status(t, p).Next; time.Until(next) < time.Minute {
			t.Fatalf("the next turn is at %v, too soon for the test", next)
		}
		moved.Store(true)
		p.fault(chunks[2], nil)
		p.fault(chunks[0], errBroken)
		other.start(t, options(true))
		other.Sync(t.Context(), p.info(), nil)
		other.stop()
		if s := other.status(t, p); s.Ads != 2 || len(s.Gaps) != 1 || s.Gaps[0].Left != 2 {
			t.Fatalf("the other node is not where the test needs it: %+v", s)
		}
		moved.Store(false)
		p.fault(chunks[0], nil)
		n.sync(t, p)
		same(t, n, p)
	})
}

// Orders stay as they are if a node is started again, also above what cannot be decoded.
func TestOrdersAfterRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.setHead(p.put(`{"what":"is this"}`))
		a := p.add(t, "a", hash(1))
		chunk := p.entries(t, 1, hash(2))
		p.fault(chunk, errBroken)
		b := p.extend(t, ad.Ad{ContextID: []byte("b"), Metadata: metadata(2), Entries: chunk})
		c := p.add(t, "c", hash(3))
		n := newNode(p).start(t, nil)
		n.Sync(t.Context(), p.info(), nil)
		n.want(t, a, state.Indexed)
		n.want(t, b, state.Pending)
		n.stop()
		p.fault(chunk, nil)
		n.start(t, nil)
		n.Sync(t.Context(), p.info(), nil)
		last := uint64(0)
		for _, x := range []cid.Cid{a, b, c} {
			row, err := state.New(n.kv).Ad(t.Context(), x)
			if err != nil || row.Status != state.Indexed || row.Order <= last {
				t.Errorf("row %+v, %v; want an order above %d", row, err, last)
			}
			last = row.Order
		}
	})
}
