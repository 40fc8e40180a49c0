package ingest_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// A frozen node heeds removals, metadata and addresses, and fetches the entries later
// without reading the chain again.
func TestFreeze(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "old", hash(1))
		var full atomic.Bool
		n := newNode(p).start(t, &ingest.Options{Frozen: full.Load})
		n.sync(t, p)
		for name, freeze := range map[string]func(bool){
			"disk": full.Store,
			"hand": func(on bool) {
				set := n.Freeze
				if !on {
					set = n.Unfreeze
				}
				if err := set(t.Context()); err != nil {
					t.Fatal(err)
				}
			},
		} {
			freeze(true)
			p.remove(t, "old")
			content := len(name) + int(name[0]) // another one each time
			chunk := p.entries(t, 1, hash(content))
			a := p.extend(t, ad.Ad{ContextID: []byte(name), Metadata: metadata(7), Entries: chunk})
			gone := p.add(t, "gone", hash(3))
			p.remove(t, "gone")
			p.extend(t, ad.Ad{ContextID: []byte("changed"), Metadata: metadata(9)})
			n.sync(t, p)
			if n.sink.has(p.id, "old", 1) || n.sink.has(p.id, name, content) || p.count(chunk) != 0 {
				t.Errorf("%s: found %v", name, n.sink.view())
			}
			if n.sink.metadata[ipni.Context{Provider: p.id, ID: "changed"}] != string(metadata(9)) {
				t.Errorf("%s: metadata was not changed", name)
			}
			if s := n.want(t, a, state.Pending); s.Reason != "the node is frozen" || !s.Frozen {
				t.Errorf("%s: %+v", name, s)
			}
			n.want(t, gone, state.Skipped)
			if s := n.status(t, p); !s.Deferred || s.Lag != 0 {
				t.Errorf("%s: status %+v", name, s)
			}
			n.stop() // it stays frozen
			n.start(t, &ingest.Options{Frozen: full.Load})
			time.Sleep(time.Hour)
			if !n.Frozen() || n.sink.has(p.id, name, content) {
				t.Errorf("%s: not frozen after a restart", name)
			}
			freeze(false)
			time.Sleep(2 * time.Minute)
			n.want(t, a, state.Indexed)
			same(t, n, p)
		}
		for c, times := range n.processed() {
			if times > 2 {
				t.Errorf("%s was processed %d times", c, times)
			}
		}
	})
}

// An announcement of an unknown publisher is durable.
func TestAnnouncedBeforeCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p)
		n.Ingester = ingest.New(n.kv, n.sink, n.registry, n.open, nil) // it never runs
		if err := n.Announce(t.Context(), a, p.info()); err != nil {
			t.Fatal(err)
		}
		n.want(t, a, state.Pending)
		n.start(t, nil)
		time.Sleep(2 * time.Minute)
		n.want(t, a, state.Indexed)
	})
}

// Of two publishers for one provider, a removal by one that is found late removes no
// newer additions by the other.
func TestTwoPublishersOneProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q, x := newPublisher(1), newPublisher(2), newIdentity(3)
		o := &ingest.Options{Policy: speaksFor(p, x)}
		o.Policy.Delegates[x.id] = append(o.Policy.Delegates[x.id], q.id)
		put := func(by *publisher, n int) {
			by.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Metadata: metadata(1), Entries: by.entries(t, 1, hash(n))})
		}
		n := newNode(p, q).start(t, o)
		put(p, 1)
		n.sync(t, p)
		q.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Remove: true})
		q.fault(q.head(), errMissing)
		n.Sync(t.Context(), q.info(), nil)
		put(p, 2)
		n.sync(t, p)
		q.fault(q.head(), nil)
		n.sync(t, q)
		if !n.sink.has(x.id, "c", 2) {
			t.Errorf("found %v, want what was added after the removal", n.sink.view())
		}
		q.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Remove: true})
		n.sync(t, q)
		if v := n.sink.view(); len(v) != 0 {
			t.Errorf("found %v after the last removal", v)
		}
	})
}

func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		var mine atomic.Bool
		mine.Store(true)
		n := newNode(p).start(t, &ingest.Options{Owns: func(peer.ID) bool { return mine.Load() }})
		n.sync(t, p)
		n.want(t, a, state.Indexed)
		mine.Store(false)
		asked := p.asked()
		time.Sleep(100 * time.Hour)
		if p.asked() != asked {
			t.Error("a publisher was asked that another node works on")
		}
		mine.Store(true)
		b := p.add(t, "b", hash(2))
		time.Sleep(25 * time.Hour)
		n.want(t, b, state.Indexed)
	})
}

// History that is read in segments makes more groups; reading it again makes no others.
func TestResyncKeepsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		for i := range 10 {
			p.add(t, "c", hash(i))
		}
		n := newNode(p).start(t, &ingest.Options{SegmentAds: 2})
		n.sync(t, p)
		if got := n.sink.epochs(ipni.Context{Provider: p.id, ID: "c"}); got != 5 {
			t.Errorf("%d groups of 5 segments", got)
		}
		before := n.sink.records()
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true}); err != nil {
			t.Fatal(err)
		}
		if got := n.sink.records(); got != before {
			t.Errorf("%d records after all was read again, %d before", got, before)
		}
		same(t, n, p)
	})
}

// What is announced while the publisher is being asked in vain is not forgotten.
func TestAnnouncedWhileFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		p.do(func() { p.onHead = func() error { return errors.New("no route to host") } })
		b := p.add(t, "b", hash(2))
		if err := n.Announce(t.Context(), b, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(48 * time.Hour) // by now it is asked every few hours
		asked, calls := make(chan struct{}), 0
		hook := func() error {
			if calls++; calls == 1 { // through the addresses that were announced
				if err := n.Announce(t.Context(), b, p.info()); err != nil {
					t.Error(err)
				}
			} else { // through those that were known
				close(asked)
				p.do(func() { p.onHead = nil })
			}
			return errors.New("no route to host")
		}
		p.do(func() { p.onHead = hook })
		<-asked
		time.Sleep(time.Minute)
		n.want(t, b, state.Indexed)
	})
}
