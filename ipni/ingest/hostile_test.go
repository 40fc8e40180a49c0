package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/entries"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// forge changes the text of a block and makes that the head.
func (p *publisher) forge(old, new string) cid.Cid {
	c := p.put(strings.Replace(string(p.blocks[p.head()]), old, new, 1))
	p.setHead(c)
	return c
}

// Bad advertisements are skipped with their cause, and the chain goes on below them.
func TestBadAds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stranger := newPublisher(1), newIdentity(8)
		first := p.add(t, "a", hash(1))
		want := map[cid.Cid]string{}

		p.extend(t, ad.Ad{ContextID: []byte("b"), Metadata: metadata(1)})
		want[p.forge(`"IsRm":false`, `"IsRm":true`)] = "signature"

		p.extend(t, ad.Ad{ContextID: []byte("b"), Metadata: metadata(1)})
		want[p.forge(`"ContextID"`, `"ContextIdea"`)] = "ContextI"

		p.setHead(p.build(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(1), Entries: p.entries(t, 1, hash(2))}, stranger))
		want[p.head()] = "may not publish"

		want[p.extend(t, ad.Ad{Provider: stranger.id, ContextID: []byte("c"), Remove: true})] = "may not publish"

		p.extend(t, ad.Ad{ContextID: []byte("d"), Entries: p.entries(t, 1, hash(2))})
		want[p.head()] = "without metadata"

		garbage := p.put(`{"Entries":[{"/":{"bytes":"AAAA"}}]}`)
		want[p.extend(t, ad.Ad{ContextID: []byte("e"), Metadata: metadata(1), Entries: garbage})] = "multihash"
		last := p.add(t, "f", hash(3))

		n := newNode(p).start(t, nil)
		n.sync(t, p)
		n.want(t, first, state.Indexed)
		n.want(t, last, state.Indexed)
		for c, cause := range want {
			if s := n.want(t, c, state.Skipped); !strings.Contains(s.Reason, cause) {
				t.Errorf("reason %q, want %q in it", s.Reason, cause)
			}
		}
		if !n.sink.has(p.id, "a", 1) || !n.sink.has(p.id, "f", 3) || len(n.sink.groups) != 2 {
			t.Errorf("found %v", n.sink.view())
		}
		if s := n.status(t, p); s.Skipped != uint64(len(want)) || len(s.Gaps) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// An advertisement that leads nowhere ends its gap, which stays visible; what is
// published later is read.
func TestUndecodableAd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		bad := p.put(`{"what":"is this"}`)
		p.setHead(bad)
		good := p.add(t, "b", hash(2))
		n := newNode(p).start(t, nil)
		n.Sync(t.Context(), p.info(), nil)
		time.Sleep(time.Hour)
		n.want(t, good, state.Indexed)
		n.want(t, bad, state.Skipped)
		if s := n.status(t, p); len(s.Gaps) != 1 || !s.Gaps[0].Broken || s.Gaps[0].From != bad || s.Gaps[0].Cause == "" {
			t.Errorf("status %+v", s)
		}
		asked := p.count(bad)
		c := p.add(t, "c", hash(3))
		if err := n.Announce(t.Context(), c, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		n.want(t, c, state.Indexed)
		time.Sleep(100 * time.Hour)
		if p.count(bad) > asked+2 {
			t.Errorf("asked %d times for what cannot change", p.count(bad))
		}
	})
}

// A copy of what a provider signed must not work in the chain of another: the signature
// does not cover the context id.
func TestCopiedRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, thief := newPublisher(1), newPublisher(2)
		p.add(t, "precious", hash(1))
		p.add(t, "x", hash(2))
		p.remove(t, "x")
		removal := string(p.blocks[p.head()])
		n := newNode(p, thief).start(t, nil)
		n.sync(t, p)

		thief.setHead(thief.put(strings.Replace(removal, `"bytes":"eA"`, `"bytes":"cHJlY2lvdXM"`, 1)))
		copied, err := ad.Decode(thief.head(), thief.blocks[thief.head()])
		if err != nil || copied.Signer != p.id || string(copied.ContextID) != "precious" {
			t.Fatalf("the copy is not what it should be: %+v, %v", copied, err)
		}
		n.Sync(t.Context(), thief.info(), nil)
		time.Sleep(time.Hour)
		if s := n.want(t, thief.head(), state.Skipped); !strings.Contains(s.Reason, "may not publish") {
			t.Errorf("reason %q", s.Reason)
		}
		same(t, n, p)
		n.stop()

		any := newNode(p, thief).start(t, &ingest.Options{Policy: &policy.Options{AnyPublisher: true}})
		any.sync(t, p)
		any.Sync(t.Context(), thief.info(), nil)
		if any.sink.has(p.id, "precious", 1) {
			t.Error("the removal did nothing even where any publisher may speak: the test shows nothing")
		}
	})
}

// A chain that is rewritten is read down to what is known.
func TestFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.add(t, "a", hash(1))
		base := p.add(t, "b", hash(2))
		p.add(t, "c", hash(3))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		p.setHead(base)
		n.sync(t, p) // an old head is nothing new
		d := p.add(t, "d", hash(4))
		n.sync(t, p)
		n.want(t, d, state.Indexed)
		for c, times := range n.processed() {
			if times != 1 {
				t.Errorf("%s was processed %d times", c, times)
			}
		}
		if s := n.status(t, p); s.Head != d || len(s.Gaps) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// An announcement can neither make us read what the publisher did not sign, nor send us
// elsewhere for good.
func TestLyingAnnouncer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		unsigned := p.build(t, ad.Ad{ContextID: []byte("x"), Metadata: metadata(1), Entries: p.entries(t, 1, hash(9))}, p.identity)
		asked := p.asked()
		elsewhere := peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{addr("/ip4/1.1.1.1/tcp/80/http")}}
		for range 100 {
			if err := n.Announce(t.Context(), unsigned, elsewhere); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Hour)
		if p.count(unsigned) != 0 {
			t.Error("what was announced was fetched, though the head does not lead to it")
		}
		if got := p.asked() - asked; got > 10 {
			t.Errorf("the publisher was asked %d times for its head", got)
		}
		if s := n.status(t, p); s.Head != a || s.Error != "" || len(s.Publisher.Addrs) != 1 || !s.Publisher.Addrs[0].Equal(p.addr) {
			t.Errorf("status %+v", s)
		}
		n.want(t, unsigned, state.Pending) // it is only announced
	})
}

// A head behind a cache is asked for again for a while.
func TestHeadBehindCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		b := p.add(t, "b", hash(2))
		p.setHead(a)
		if err := n.Announce(t.Context(), b, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		p.setHead(b)
		time.Sleep(time.Minute)
		n.want(t, b, state.Indexed)
	})
}

func TestRefusedAnnouncements(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1))
		n := newNode(p).start(t, &ingest.Options{MaxUnknown: 3, Owns: func(id peer.ID) bool { return id != newIdentity(50).id }})
		for _, text := range []string{
			"/ip4/127.0.0.1/tcp/80/http", "/ip4/10.1.2.3/tcp/80/http", "/ip4/169.254.169.254/tcp/80/http", "/ip6/::1/tcp/80/http",
			"/ip6/fe80::1/tcp/80", "/ip4/192.168.1.1/udp/4001/quic-v1", "/dns4/localhost/tcp/80/http", "/ip4/0.0.0.0/tcp/1", "/unix/tmp/socket",
		} {
			err := n.Announce(t.Context(), a, peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{addr(text)}})
			if !errors.Is(err, fs.ErrPermission) {
				t.Errorf("announce at %s: %v, want it to be refused", text, err)
			}
		}
		if err := n.Block(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if err := n.Announce(t.Context(), a, p.info()); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("announce when blocked: %v", err)
		}
		if err := n.Allow(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if err := n.Announce(t.Context(), a, p.info()); err != nil {
			t.Errorf("announce when allowed: %v", err)
		}
		time.Sleep(time.Second)
		n.want(t, a, state.Indexed)
		if err := n.Announce(t.Context(), a, peer.AddrInfo{ID: newIdentity(50).id, Addrs: p.info().Addrs}); !errors.Is(err, ingest.ErrElsewhere) {
			t.Errorf("announce at the wrong node: %v", err)
		}
		for i := range 10 {
			err := n.Announce(t.Context(), a, peer.AddrInfo{ID: newIdentity(byte(100 + i)).id, Addrs: p.info().Addrs})
			if err != nil && !errors.Is(err, ingest.ErrBusy) {
				t.Error(err)
			}
			if all, err := n.Statuses(t.Context()); err != nil || len(all) > 1+3 {
				t.Errorf("%d publishers are remembered: %v", len(all), err)
			}
		}
		time.Sleep(20 * 24 * time.Hour)
		if all, err := n.Statuses(t.Context()); err != nil || len(all) != 1 {
			t.Errorf("%d publishers are remembered, want those that answered: %v", len(all), err)
		}
	})
}

// A provider can be blocked in the chain of another, and its advertisements are then
// read again once it is allowed.
func TestBlockedProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, x := newPublisher(1), newIdentity(2)
		a := p.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("c"), Metadata: metadata(1), Entries: p.entries(t, 1, hash(1))})
		n := newNode(p).start(t, &ingest.Options{Policy: speaksFor(p, x)})
		if err := n.Block(t.Context(), x.id); err != nil {
			t.Fatal(err)
		}
		n.sync(t, p)
		n.want(t, a, state.Skipped)
		if err := n.Unlist(t.Context(), x.id); err != nil {
			t.Fatal(err)
		}
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true, Depth: 10}); err != nil {
			t.Fatal(err)
		}
		n.want(t, a, state.Indexed)
		same(t, n, p)
	})
}

func TestEntryLimits(t *testing.T) {
	for name, limits := range map[string]entries.Limits{"blocks": {Blocks: 2}, "multihashes": {Multihashes: 8}, "bytes": {Bytes: 400}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublisher(1)
			a := p.add(t, "a", hash(1), hash(2), hash(3), hash(4), hash(5), hash(6), hash(7), hash(8), hash(9)) // three chunks
			b := p.add(t, "b", hash(1))
			n := newNode(p).start(t, &ingest.Options{Entries: limits})
			n.sync(t, p)
			if s := n.want(t, a, state.Skipped); !strings.Contains(s.Reason, "more than") || !strings.Contains(s.Reason, name) {
				t.Errorf("%s: reason %q", name, s.Reason)
			}
			n.want(t, b, state.Indexed)
		})
	}
}

// A chain that is longer than allowed is read so far, and what is left is shown.
func TestDepth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		var chain []cid.Cid
		for i := range 20 {
			chain = append(chain, p.add(t, fmt.Sprint(i), hash(i)))
		}
		n := newNode(p).start(t, &ingest.Options{FirstDepth: 5})
		n.Sync(t.Context(), p.info(), nil)
		time.Sleep(time.Hour)
		n.want(t, chain[15], state.Indexed)
		n.want(t, chain[14], state.Unknown)
		if s := n.status(t, p); len(s.Gaps) != 1 || !s.Gaps[0].Broken || !strings.Contains(s.Gaps[0].Cause, "more than 5") {
			t.Errorf("status %+v", s)
		}
	})
}

// A publisher that stalls holds up neither another one nor itself for good.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPublisher(1), newPublisher(2)
		p.add(t, "a", hash(1))
		q.add(t, "b", hash(2))
		p.onBlock = func(ctx context.Context, _ cid.Cid) error {
			<-ctx.Done()
			return ctx.Err()
		}
		n := newNode(p, q).start(t, &ingest.Options{Workers: 1, FetchTimeout: 5 * time.Second})
		if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		began := time.Now()
		n.sync(t, q)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the other one waited %s", took)
		}
		p.mu.Lock()
		p.onBlock = nil
		p.mu.Unlock()
		time.Sleep(time.Hour)
		same(t, n, p, q)
	})
}
