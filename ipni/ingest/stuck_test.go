package ingest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

var errBroken = errors.New("500 internal server error")

// What is older and met later neither replaces nor removes the metadata of an advertisement of which
// some entries cannot be had for now.
func TestOlderThanWhatFails(t *testing.T) {
	for name, older := range map[string]func(*testing.T, *publisher) cid.Cid{
		"addition": func(t *testing.T, p *publisher) cid.Cid {
			return p.extend(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(1), Entries: p.entries(t, 1, hash(1))})
		},
		"removal": func(t *testing.T, p *publisher) cid.Cid { return p.remove(t, "c") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPublisher(1)
				hole := older(t, p)
				p.fault(hole, errMissing)
				p.add(t, "x", hash(9))
				n := newNode(p).start(t, &ingest.Options{EntryTries: 2})
				n.Sync(t.Context(), p.info(), nil)
				chunk := p.entries(t, 1, hash(2), hash(3))
				last := decodeEntries(t, p, chunk).Links[0]
				p.fault(last, errBroken)
				newer := p.extend(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(2), Entries: chunk})
				n.Sync(t.Context(), p.info(), nil)
				time.Sleep(time.Minute)
				n.want(t, newer, state.Pending)
				p.fault(hole, nil)
				n.Sync(t.Context(), p.info(), nil)
				time.Sleep(time.Minute)
				n.want(t, hole, state.Indexed)
				c := ipni.Context{Provider: p.id, ID: "c"}
				if got := n.sink.metadata[c]; got != string(metadata(2)) || !n.sink.has(p.id, "c", 2) {
					t.Errorf("metadata %x, want that of the newer one; found %v", got, n.sink.view())
				}
				p.fault(last, nil)
				time.Sleep(2 * time.Hour)
				n.want(t, newer, state.Indexed)
				same(t, n, p)
			})
		})
	}
}

// Entries that fail at a publisher that answers are asked for at growing intervals, and what is older
// does not wait for them.
func TestFailingDoesNotStarve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		hole := p.add(t, "a", hash(1))
		p.fault(hole, errMissing)
		p.add(t, "b", hash(2))
		n := newNode(p).start(t, &ingest.Options{EntryTries: 1 << 30})
		n.Sync(t.Context(), p.info(), nil)
		chunk := p.entries(t, 1, hash(3))
		p.fault(chunk, errBroken)
		newer := p.extend(t, ad.Ad{ContextID: []byte("c"), Metadata: metadata(2), Entries: chunk})
		n.Sync(t.Context(), p.info(), nil)
		p.fault(hole, nil)
		asked, fetched := p.asked(), p.count(chunk)
		time.Sleep(10 * time.Hour)
		n.want(t, hole, state.Indexed)
		n.want(t, newer, state.Pending)
		if heads, blocks := p.asked()-asked, p.count(chunk)-fetched; heads > 100 || blocks > 50 {
			t.Errorf("asked %d times for the head and %d times for a block in ten hours", heads, blocks)
		}
		p.fault(chunk, nil)
		n.sync(t, p)
		n.want(t, newer, state.Indexed)
		if s := n.status(t, p); s.Error != "" || len(s.Gaps) != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// A segment of which one advertisement fails is not fetched again and again.
func TestSegmentThatCannotBeReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		chunk := p.entries(t, 1, hash(1))
		p.fault(chunk, errBroken)
		p.extend(t, ad.Ad{ContextID: []byte("a"), Metadata: metadata(2), Entries: chunk})
		b, c := p.add(t, "b", hash(2)), p.add(t, "c", hash(3))
		n := newNode(p).start(t, &ingest.Options{EntryTries: 1 << 30})
		n.Sync(t.Context(), p.info(), nil)
		n.stop()
		p.fault(chunk, nil)
		p.fault(b, errBroken)
		n.start(t, nil)
		before := p.count(c)
		time.Sleep(10 * time.Hour)
		if times := p.count(c) - before; times == 0 || times > 50 {
			t.Errorf("fetched %d times in ten hours", times)
		}
		p.fault(b, nil)
		n.sync(t, p)
		same(t, n, p)
	})
}
