package ingest_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// drips makes each block of p take a time.
func (p *publisher) drips(each time.Duration) *publisher {
	p.onBlock = func(ctx context.Context, _ cid.Cid) error {
		select {
		case <-time.After(each):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return p
}

// hamt stores the HAMT that index-provider wrote, of 40 multihashes.
func (p *publisher) hamt(t testing.TB) cid.Cid {
	t.Helper()
	text, err := os.ReadFile("../ad/testdata/hamt.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Scan()
	root := cid.MustParse(lines.Text())
	for lines.Scan() {
		var c, data string
		if _, err := fmt.Sscan(lines.Text(), &c, &data); err != nil {
			t.Fatal(err)
		}
		block, err := base64.StdEncoding.DecodeString(data)
		if err != nil {
			t.Fatal(err)
		}
		p.store(cid.MustParse(c), block)
	}
	return root
}

// Publishers that drip, many more than there are workers, keep a good one waiting for seconds only, each
// time that it has something new; and all of theirs is read in the end.
func TestSlowDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*publisher
		good := newPublisher(1)
		for i := range 30 {
			p := newPublisher(byte(2 + i)).drips(30 * time.Second)
			for j := range 3 {
				var mhs []multihash.Multihash
				for k := range 6 {
					mhs = append(mhs, hash(100*i+10*j+k))
				}
				p.extend(t, ad.Ad{ContextID: fmt.Append(nil, j), Metadata: metadata(1), Entries: p.entries(t, 1, mhs...)})
			}
			all = append(all, p)
		}
		all = append(all, good)
		n := newNode(all...).start(t, &ingest.Options{Workers: 2, Aside: 40})
		for _, p := range all[:30] {
			if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		for i := range 40 {
			good.add(t, fmt.Sprint(i), hash(10000+i))
			began := time.Now()
			n.sync(t, good)
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("at %d the good one waited %s", i, took)
			}
			time.Sleep(7 * time.Second)
		}
		time.Sleep(2 * time.Hour)
		same(t, n, all...)
	})
}

// When too many turns wait, others are given up, told so, and go on where they were.
func TestTooManySlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*publisher
		for i := range 12 {
			p := newPublisher(byte(2 + i)).drips(20 * time.Second)
			var mhs []multihash.Multihash
			for k := range 6 {
				mhs = append(mhs, hash(100*i+k))
			}
			p.extend(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(1), Entries: p.entries(t, 1, mhs...)})
			all = append(all, p)
		}
		n := newNode(all...).start(t, &ingest.Options{Workers: 1, Aside: 3})
		for _, p := range all {
			if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second)
		told := 0
		for _, p := range all {
			if s := n.status(t, p); strings.Contains(s.Error, "slow") {
				told++
			}
		}
		if told < 4 {
			t.Errorf("%d are told to be slow, want those that gave way", told)
		}
		good := newPublisher(1)
		n.publishers = append(n.publishers, good)
		good.add(t, "good", hash(9999))
		began := time.Now()
		n.sync(t, good)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the good one waited %s", took)
		}
		time.Sleep(48 * time.Hour)
		same(t, n, append(all, good)...)
	})
}

// A HAMT takes turns with others and goes on where it was, also after a restart; so do
// entries that were missing.
func TestHAMTTakesTurns(t *testing.T) {
	for name, missing := range map[string]bool{"in the chain": false, "as a retry": true} {
		synctest.Test(t, func(t *testing.T) {
			p, q := newPublisher(1).drips(30*time.Second), newPublisher(2)
			root := p.hamt(t)
			a := p.extend(t, ad.Ad{ContextID: []byte("hamt"), Metadata: metadata(1), Entries: root})
			o := &ingest.Options{Workers: 1, Slice: 3 * time.Second, Patience: time.Hour, EntryRetry: 10 * time.Minute}
			n := newNode(p, q).start(t, o)
			if missing {
				p.fault(root, errMissing)
				n.sync(t, p)
				p.fault(root, nil)
				time.Sleep(7 * time.Minute) // with its spread, the retry is due soon
			}
			if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			for i := range 12 {
				q.add(t, fmt.Sprint(i), hash(i))
				began := time.Now()
				n.sync(t, q)
				if took := time.Since(began); took > 70*time.Second {
					t.Errorf("%s: the other one waited %s", name, took)
				}
				if i == 4 {
					n.stop()
					n.start(t, o)
				}
			}
			time.Sleep(time.Hour)
			if s := n.want(t, a, state.Indexed); s.Count != 40 {
				t.Errorf("%s: %d multihashes, want 40", name, s.Count)
			}
			if got := n.sink.records(); got != 40+12 {
				t.Errorf("%s: %d records, want 52", name, got)
			}
			again := 0
			for _, times := range p.fetched {
				again += times - 1
			}
			if blocks := len(p.fetched); again > 4*blocks { // what was begun when a turn ended, and the advertisement
				t.Errorf("%s: %d of %d blocks were fetched again", name, again, blocks)
			}
		})
	}
}

// A publisher at the limit of its multihashes waits without a worker.
func TestEntryRateKeepsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, q := newPublisher(1), newPublisher(2)
		var mhs []multihash.Multihash
		for i := range 900 {
			mhs = append(mhs, hash(i))
		}
		big := p.extend(t, ad.Ad{ContextID: []byte("big"), Metadata: metadata(1), Entries: p.entries(t, 3, mhs...)})
		n := newNode(p, q).start(t, &ingest.Options{Workers: 1, EntryRate: 3})
		if err := n.Announce(t.Context(), big, p.info()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 10 {
			q.add(t, fmt.Sprint(i), hash(1000+i))
			began := time.Now()
			n.sync(t, q)
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("the other one waited %s", took)
			}
			time.Sleep(5 * time.Second)
		}
		n.want(t, big, state.Pending)
		time.Sleep(5 * time.Minute)
		n.want(t, big, state.Indexed)
		same(t, n, p, q)
	})
}

// Run ends soon, however many turns were set aside.
func TestStopWhileSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var all []*publisher
		for i := range 5 {
			p := newPublisher(byte(1 + i)).drips(time.Hour)
			p.add(t, "a", hash(i))
			all = append(all, p)
		}
		n := newNode(all...).start(t, &ingest.Options{Workers: 1, FetchTimeout: 2 * time.Hour})
		for _, p := range all {
			if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		began := time.Now()
		n.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %s", took)
		}
		for _, p := range all {
			if s, err := n.Status(t.Context(), p.id); err != nil || s.Error != "" && !errors.Is(err, context.Canceled) && s.Ads != 0 {
				t.Errorf("status %+v, %v", s, err)
			}
		}
	})
}
