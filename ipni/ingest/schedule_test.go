package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// chain extends the chain of p by n contexts of one multihash each.
func (p *publisher) chain(t *testing.T, n int) []cid.Cid {
	var all []cid.Cid
	for i := range n {
		all = append(all, p.add(t, fmt.Sprintf("%d of %d", i, p.addr.Bytes()[4]), hash(i)))
	}
	return all
}

// The sink is down: everything waits, nothing is marked, and nobody else is to blame.
func TestSinkFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		all := p.chain(t, 3)
		n := newNode(p)
		var full atomic.Bool
		full.Store(true)
		n.sink.fail = func(string) error {
			if full.Load() {
				return errors.New("no space left on device")
			}
			return nil
		}
		n.start(t, nil)
		if err := n.Announce(t.Context(), p.head(), p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		for _, c := range all {
			n.want(t, c, state.Pending)
		}
		if s := n.status(t, p); s.Error != "" || s.Lag != 3 {
			t.Errorf("status %+v", s)
		}
		if _, err := n.Paused(); err == nil {
			t.Error("not paused")
		}
		if n.paused < 30 || n.paused > 200 {
			t.Errorf("tried %d times in an hour", n.paused)
		}
		full.Store(false)
		time.Sleep(2 * time.Minute)
		same(t, n, p)
		if _, err := n.Paused(); err != nil {
			t.Errorf("still paused: %v", err)
		}
	})
}

// After a restart no advertisement is fetched that is processed, and none is processed twice.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		all := p.chain(t, 300)
		n := newNode(p)
		var writes atomic.Int64
		crash := make(chan struct{})
		n.sink.fail = func(what string) error {
			if what == "put" && writes.Add(1) == 100 {
				close(crash)
			}
			if writes.Load() >= 100 {
				return errors.New("dying")
			}
			return nil
		}
		n.start(t, nil)
		if err := n.Announce(t.Context(), p.head(), p.info()); err != nil {
			t.Fatal(err)
		}
		<-crash
		n.stop()
		done := n.processed()
		before := map[cid.Cid]int{}
		for _, c := range all {
			before[c] = p.count(c)
		}
		n.sink.fail = nil
		n.start(t, nil)
		n.sync(t, p)
		same(t, n, p)
		for i, c := range all {
			if done[c] > 0 && p.count(c) != before[c] {
				t.Errorf("advertisement %d was processed and fetched again", i)
			}
			if n.processed()[c] != 1 {
				t.Errorf("advertisement %d was processed %d times", i, n.processed()[c])
			}
		}
		if len(done) != 99 {
			t.Errorf("%d were processed before the crash, want 99", len(done))
		}
	})
}

// What was published last is found while the history loads.
func TestNewestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		all := p.chain(t, 2000)
		p.onBlock = func(context.Context, cid.Cid) error {
			time.Sleep(50 * time.Millisecond)
			return nil
		}
		n := newNode(p).start(t, nil)
		if err := n.Announce(t.Context(), p.head(), p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		n.want(t, p.head(), state.Indexed)
		n.want(t, all[0], state.Unknown)
		c := p.add(t, "fresh", hash(5000))
		if err := n.Announce(t.Context(), c, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		n.want(t, c, state.Indexed)
		n.want(t, all[0], state.Unknown)
		time.Sleep(time.Hour)
		same(t, n, p)
		if got := n.sink.epochs(ipni.Context{Provider: p.id, ID: "fresh"}); got != 1 {
			t.Errorf("%d groups", got)
		}
	})
}

// In the steady state a context is one group, however many advertisements add to it.
func TestOneGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		n := newNode(p).start(t, nil)
		for i := range 20 {
			p.add(t, "c", hash(i))
			if i%3 == 0 {
				n.sync(t, p)
			}
		}
		n.sync(t, p)
		same(t, n, p)
		c := ipni.Context{Provider: p.id, ID: "c"}
		if got := n.sink.epochs(c); got != 1 {
			t.Errorf("%d groups, want one", got)
		}
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true}); err != nil {
			t.Fatal(err)
		}
		if got := n.sink.epochs(c); got != 1 {
			t.Errorf("%d groups after all was read again, want one", got)
		}
	})
}

// Reading again repairs a store that lost records.
func TestResync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		all := p.chain(t, 10)
		p.remove(t, "3 of 8")
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		for g := range n.sink.groups {
			delete(n.sink.groups, g)
			if len(n.sink.groups) == 4 {
				break
			}
		}
		if err := n.Resync(t.Context(), p.id, 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		same(t, n, p)
		n.want(t, all[0], state.Indexed)
		if s := n.status(t, p); len(s.Gaps) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// A publisher with much to read must not keep others waiting, and has its own limits.
func TestFairness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		big, small := newPublisher(1), newPublisher(2)
		big.chain(t, 1000)
		small.chain(t, 3)
		for _, p := range []*publisher{big, small} {
			p.onBlock = func(context.Context, cid.Cid) error {
				time.Sleep(20 * time.Millisecond)
				return nil
			}
		}
		n := newNode(big, small).start(t, &ingest.Options{Workers: 1, Slice: time.Second})
		if err := n.Announce(t.Context(), cid.Undef, big.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		began := time.Now()
		n.sync(t, small)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the small one waited %s", took)
		}
		time.Sleep(time.Hour)
		same(t, n, big, small)
	})
}

func TestRates(t *testing.T) {
	for _, o := range []ingest.Options{{AdRate: 2}, {EntryRate: 6}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPublisher(1)
			for i := range 100 {
				p.add(t, fmt.Sprint(i), hash(3*i), hash(3*i+1), hash(3*i+2))
			}
			n := newNode(p).start(t, &o)
			began := time.Now()
			n.sync(t, p)
			if took := time.Since(began); took < 45*time.Second || took > time.Minute {
				t.Errorf("took %s, want 50 s", took)
			}
			same(t, n, p)
		})
	}
}

// One huge advertisement takes turns with others, and goes on where it was after a restart.
func TestHugeAd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPublisher(1), newPublisher(2)
		var mhs []multihash.Multihash
		for i := range 1000 {
			mhs = append(mhs, hash(i))
		}
		huge := p.extend(t, ad.Ad{ContextID: []byte("huge"), Metadata: metadata(1), Entries: p.entries(t, 1, mhs...)})
		q.add(t, "b", hash(1))
		p.onBlock = func(context.Context, cid.Cid) error {
			time.Sleep(100 * time.Millisecond)
			return nil
		}
		n := newNode(p, q).start(t, &ingest.Options{Workers: 1, Slice: time.Second})
		if err := n.Announce(t.Context(), huge, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		began := time.Now()
		n.sync(t, q)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the other one waited %s", took)
		}
		n.want(t, huge, state.Pending)
		n.stop()
		n.start(t, &ingest.Options{Workers: 1, Slice: time.Second})
		time.Sleep(5 * time.Minute)
		if s := n.want(t, huge, state.Indexed); s.Count != 1000 {
			t.Errorf("%d multihashes are counted", s.Count)
		}
		same(t, n, p, q)
		again := 0
		for _, times := range p.fetched {
			again += times - 1
		}
		if again > 500 { // a few of what was fetched ahead in each turn
			t.Errorf("%d blocks were fetched again", again)
		}
	})
}
