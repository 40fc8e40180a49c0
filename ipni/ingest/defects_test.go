package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/kv"
)

// same checks that a node knows what reading the chain in order gives.
func same(t *testing.T, n *node, publishers ...*publisher) {
	t.Helper()
	want := view{}
	for _, p := range publishers {
		maps.Copy(want, p.oracle(t, p.head()))
	}
	if d := cmp.Diff(want, n.sink.view()); d != "" {
		t.Errorf("view (-want +got):\n%s", d)
	}
}

func speaksFor(p *publisher, providers ...identity) *policy.Options {
	o := &policy.Options{Delegates: map[peer.ID][]peer.ID{}}
	for _, x := range providers {
		o.Delegates[x.id] = []peer.ID{p.id}
	}
	return o
}

// A removal must not hide what another provider has under the same context id.
func TestTwoProvidersOneContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, b := newPublisher(1), newIdentity(2)
		p.add(t, "ctx", hash(1))
		p.extend(t, ad.Ad{Provider: b.id, ContextID: []byte("ctx"), Metadata: metadata(2), Entries: p.entries(t, 1, hash(2))})
		p.extend(t, ad.Ad{Provider: b.id, ContextID: []byte("ctx"), Remove: true})
		n := newNode(p).start(t, &ingest.Options{Policy: speaksFor(p, b)})
		n.sync(t, p)
		same(t, n, p)
		if !n.sink.has(p.id, "ctx", 1) || n.sink.has(b.id, "ctx", 2) {
			t.Errorf("found %v", n.sink.view())
		}
	})
}

// A provider that is worked on in one chain must hold up neither others in another
// chain for good, nor lose what that chain says of it.
func TestBusyProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q, x, y := newPublisher(1), newPublisher(2), newIdentity(3), newIdentity(4)
		opts := &policy.Options{Delegates: map[peer.ID][]peer.ID{x.id: {p.id, q.id}, y.id: {q.id}}}
		slow := p.entries(t, 1, hash(1))
		p.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Metadata: metadata(1), Entries: slow})
		q.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Metadata: metadata(1), Entries: q.entries(t, 1, hash(2))})
		q.extend(t, ad.Ad{Provider: y.id, ContextID: []byte("c"), Metadata: metadata(1), Entries: q.entries(t, 1, hash(3))})
		release := make(chan struct{})
		p.onBlock = func(ctx context.Context, c cid.Cid) error {
			if c == slow {
				<-release
			}
			return nil
		}
		n := newNode(p, q).start(t, &ingest.Options{Policy: opts})
		for _, pub := range []*publisher{p, q} {
			if err := n.Announce(t.Context(), pub.head(), pub.info()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		close(release)
		time.Sleep(time.Minute)
		for i, has := range []bool{n.sink.has(x.id, "c", 1), n.sink.has(x.id, "c", 2), n.sink.has(y.id, "c", 3)} {
			if !has {
				t.Errorf("content %d is not found: %v", i+1, n.sink.view())
			}
		}
	})
}

// A failure that may pass must not mark an advertisement as processed.
func TestEntriesFailForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunk := p.entries(t, 2, hash(1), hash(2), hash(3))
		a := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(1), Entries: chunk})
		b := p.add(t, "b", hash(4))
		p.fault(chunk, errors.New("500 internal server error"))
		n := newNode(p).start(t, &ingest.Options{EntryTries: 1000})
		if err := n.Sync(t.Context(), p.info(), nil); err == nil || !strings.Contains(err.Error(), "500 internal") {
			t.Errorf("sync: %v, want the cause", err)
		}
		n.want(t, a, state.Pending)
		n.want(t, b, state.Pending)
		if s := n.status(t, p); !strings.Contains(s.Error, "500 internal") || s.Lag != 2 {
			t.Errorf("status %+v", s)
		}
		p.fault(chunk, nil)
		time.Sleep(time.Hour)
		n.want(t, a, state.Indexed)
		n.want(t, b, state.Indexed)
		same(t, n, p)
		if s := n.status(t, p); s.Error != "" {
			t.Errorf("error stays: %s", s.Error)
		}
	})
}

// One advertisement whose entries always fail must not hold up the chain of a publisher
// that answers otherwise, nor count as processed.
func TestEntriesAlwaysFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunk := p.entries(t, 2, hash(1))
		a := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(1), Entries: chunk})
		b := p.add(t, "b", hash(4))
		p.fault(chunk, errors.New("500 internal server error"))
		n := newNode(p).start(t, nil)
		n.Sync(t.Context(), p.info(), nil)
		time.Sleep(10 * time.Minute)
		n.want(t, b, state.Indexed)
		if s := n.want(t, a, state.Pending); !strings.Contains(s.Reason, "500 internal") {
			t.Errorf("reason %q", s.Reason)
		}
		p.fault(chunk, nil)
		time.Sleep(24 * time.Hour)
		n.want(t, a, state.Indexed)
		same(t, n, p)
	})
}

// An advertisement that cannot be read must not make those below it be forgotten.
func TestAdFailsInTheMidst(t *testing.T) {
	for _, fault := range []error{errors.New("connection reset"), errMissing} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublisher(1)
			a := p.add(t, "a", hash(1))
			b := p.add(t, "b", hash(2))
			c := p.add(t, "c", hash(3))
			p.fault(b, fault)
			n := newNode(p).start(t, nil)
			if err := n.Sync(t.Context(), p.info(), nil); err == nil || !strings.Contains(err.Error(), fault.Error()) {
				t.Errorf("sync: %v, want the cause", err)
			}
			n.want(t, c, state.Indexed)
			n.want(t, a, state.Unknown)
			if s := n.status(t, p); len(s.Gaps) != 1 || s.Gaps[0].From != b || !strings.Contains(s.Gaps[0].Cause, fault.Error()) || s.Lag == 0 {
				t.Errorf("status %+v", s)
			}
			p.fault(b, nil)
			time.Sleep(24 * time.Hour)
			n.want(t, a, state.Indexed)
			n.want(t, b, state.Indexed)
			same(t, n, p)
			if k := n.processed(); k[c] != 1 {
				t.Errorf("the newest was processed %d times", k[c])
			}
		})
	}
}

// Entries that appear after their advertisement are found without an operator.
func TestEntriesAppearLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunk := p.entries(t, 2, hash(1), hash(2), hash(3))
		p.fault(chunk, errMissing)
		a := p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(1), Entries: chunk})
		b := p.add(t, "b", hash(4))
		gone := p.entries(t, 1, hash(5))
		p.fault(gone, errMissing)
		c := p.extend(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(1), Entries: gone})
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		n.want(t, b, state.Indexed)
		if s := n.want(t, a, state.Pending); !strings.Contains(s.Reason, "404") {
			t.Errorf("reason %q", s.Reason)
		}
		if s := n.status(t, p); !s.Missing || s.Lag != 0 {
			t.Errorf("status %+v", s)
		}
		time.Sleep(30 * time.Hour)
		n.stop() // the schedule survives
		n.start(t, nil)
		p.fault(chunk, nil)
		time.Sleep(30 * time.Hour)
		n.want(t, a, state.Indexed)
		n.want(t, c, state.Pending)
		if tries := p.count(gone); tries < 3 || tries > 20 {
			t.Errorf("asked %d times in two days", tries)
		}
		time.Sleep(8 * 24 * time.Hour)
		if s := n.want(t, c, state.Skipped); !strings.Contains(s.Reason, "given up") {
			t.Errorf("reason %q", s.Reason)
		}
		if s := n.status(t, p); s.Missing {
			t.Errorf("status %+v", s)
		}
	})
}

// Extended providers of one context must not replace those of another.
func TestExtendedProvidersAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, x := newPublisher(1), newIdentity(7)
		for _, c := range []string{"a", "b", ""} {
			a := ad.Ad{ContextID: []byte(c), Extended: &ad.Extended{Providers: []ad.ExtendedProvider{
				{ID: p.id, Addrs: []multiaddr.Multiaddr{p.addr}, Metadata: metadata(1)},
				{ID: x.id, Addrs: []multiaddr.Multiaddr{addr("/ip4/9.9.9.9/tcp/1")}, Metadata: metadata(9)},
			}}}
			if c != "" {
				a.Metadata, a.Entries = metadata(1), p.entries(t, 1, hash(1))
			}
			p.setHead(p.build(t, a, p.identity, p.key, x.key))
		}
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		for _, c := range []string{"a", "b"} {
			contextual, chain, err := n.registry.Extended(t.Context(), p.id, c)
			if err != nil || contextual == nil || chain == nil || len(contextual.Providers) != 2 || len(chain.Providers) != 2 {
				t.Errorf("context %s: %+v and %+v, %v", c, contextual, chain, err)
			}
		}
	})
}

// counter counts batches.
type counter struct {
	kv.Store
	batches int
}

func (c *counter) Batch(ctx context.Context, ops []kv.Op) error {
	c.batches++
	return c.Store.Batch(ctx, ops)
}

// One batch for an advertisement, one fetch and one write for a chunk, one write of
// metadata, one connection for all.
func TestCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		const ads = 50
		for i := range ads {
			p.add(t, fmt.Sprint("context ", i), hash(4*i), hash(4*i+1), hash(4*i+2), hash(4*i+3)) // two chunks
		}
		n := newNode(p)
		c := &counter{Store: n.kv}
		n.kv = c
		calls := map[string]int{}
		n.sink.fail = func(what string) error {
			calls[what]++
			return nil
		}
		n.start(t, &ingest.Options{Workers: 1})
		n.sync(t, p)
		if c.batches > ads+5 {
			t.Errorf("%d batches for %d advertisements", c.batches, ads)
		}
		if d := cmp.Diff(map[string]int{"put": 2 * ads, "metadata": ads}, calls); d != "" {
			t.Errorf("calls of the sink (-want +got):\n%s", d)
		}
		for block, n := range p.fetched {
			if n != 1 {
				t.Errorf("block %s was fetched %d times", block, n)
			}
		}
	})
}

// Entries are fetched while those before them are written, and those of the next
// advertisements as well.
func TestPrefetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		var mhs []multihash.Multihash
		for i := range 30 {
			mhs = append(mhs, hash(i))
		}
		long := p.entries(t, 3, mhs...) // ten chunks
		p.extend(t, ad.Ad{ContextID: []byte("long"), Metadata: metadata(1), Entries: long})
		for i := range 8 {
			p.add(t, fmt.Sprint("short ", i), hash(100+i))
		}
		p.onBlock = func(_ context.Context, c cid.Cid) error {
			time.Sleep(time.Second)
			return nil
		}
		n := newNode(p)
		n.sink.fail = func(what string) error {
			if what == "put" {
				n.sink.mu.Unlock()
				time.Sleep(time.Second)
				n.sink.mu.Lock()
			}
			return nil
		}
		n.start(t, &ingest.Options{Slice: time.Hour})
		began := time.Now()
		n.sync(t, p)
		same(t, n, p)
		// Nine advertisements and the ten chunks of the first one come one after the other;
		// the rest of the fetches, and all but eight writes and the last of the ten, do not.
		if took := time.Since(began); took > (9+10+1+8+1)*time.Second {
			t.Errorf("took %s", took)
		}
	})
}
