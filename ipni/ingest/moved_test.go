package ingest_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
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
		for time.Until(n.status(t, p).Next) < time.Minute { // no turn while the lease is elsewhere
			time.Sleep(time.Second)
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

// A turn ends when the lease of its publisher is lost, and who waits for it hears so.
func TestLeaseLostInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunk := p.entries(t, 1, hash(1))
		a := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(1), Entries: chunk})
		var moved atomic.Bool
		p.onBlock = func(ctx context.Context, c cid.Cid) error {
			if c != chunk {
				return nil
			}
			moved.Store(true)
			<-ctx.Done()
			return context.Cause(ctx)
		}
		o := &ingest.Options{Owns: func(peer.ID) bool { return !moved.Load() }, FetchTimeout: time.Hour, EntryTries: 1}
		n := newNode(p).start(t, o)
		began := time.Now()
		err := n.Sync(t.Context(), p.info(), nil)
		if took := time.Since(began); !errors.Is(err, ingest.ErrElsewhere) || took > time.Second {
			t.Errorf("sync: %v after %v, want that another node has it", err, took)
		}
		n.want(t, a, state.Pending)
		if s := n.status(t, p); s.Error != "" || s.Active || n.paused != 0 {
			t.Errorf("status %+v, paused %d times", s, n.paused)
		}
		p.do(func() { p.onBlock = nil })
		moved.Store(false)
		time.Sleep(2 * time.Minute)
		n.want(t, a, state.Indexed)
		same(t, n, p)
	})
}

// A write to the sink ends, too, when the lease is lost.
func TestLeaseLostInPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		var moved atomic.Bool
		n := newNode(p)
		ended := false
		n.wrap = func(s ipni.Sink) ipni.Sink {
			return sinkFunc{s, func(ctx context.Context) error {
				moved.Store(true)
				<-ctx.Done()
				ended = true
				return context.Cause(ctx)
			}}
		}
		n.start(t, &ingest.Options{Owns: func(peer.ID) bool { return !moved.Load() }})
		if err := n.Sync(t.Context(), p.info(), nil); !errors.Is(err, ingest.ErrElsewhere) || !ended {
			t.Errorf("sync: %v, ended %t", err, ended)
		}
		n.want(t, a, state.Pending)
		if n.paused != 0 {
			t.Error("a lost lease had everything wait")
		}
	})
}

// sinkFunc is a sink that does something else with multihashes.
type sinkFunc struct {
	ipni.Sink
	put func(context.Context) error
}

func (s sinkFunc) Put(ctx context.Context, _ ipni.Group, _ ipni.Multihashes) error { return s.put(ctx) }
