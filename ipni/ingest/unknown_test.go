package ingest_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// Forged announcements of peers that do not exist do not keep a new publisher out, also after a restart; that many
// which were not asked yet do.
func TestUnknownGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 3
		p, q := newPublisher(1), newPublisher(2)
		a, b := p.add(t, "a", hash(1)), q.add(t, "b", hash(2))
		n := newNode(p, q).start(t, &ingest.Options{MaxUnknown: most})
		forge := func(i byte) error {
			return n.Announce(t.Context(), cid.Undef, peer.AddrInfo{ID: newIdentity(100 + i).id, Addrs: p.info().Addrs})
		}
		for i := range byte(most) {
			if err := forge(i); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour)
		if err := n.Announce(t.Context(), a, p.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.want(t, a, state.Indexed)
		if all, err := n.Statuses(t.Context()); err != nil || len(all) != most {
			t.Errorf("%d publishers are remembered, %v; want %d", len(all), err, most)
		}

		forge(most)
		n.stop()
		n.start(t, &ingest.Options{MaxUnknown: most})
		time.Sleep(time.Millisecond) // nobody was asked yet since
		if err := n.Announce(t.Context(), b, q.info()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.want(t, b, state.Indexed)
	})
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		hang := make(chan struct{})
		var publishers []*publisher
		for i := range byte(4) {
			q := newPublisher(10 + i)
			q.onHead = func() error { <-hang; return errors.New("gone") }
			publishers = append(publishers, q)
		}
		n := newNode(append(publishers, p)...).start(t, &ingest.Options{MaxUnknown: 4})
		for _, q := range publishers {
			if err := n.Announce(t.Context(), cid.Undef, q.info()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if err := n.Announce(t.Context(), cid.Undef, p.info()); !errors.Is(err, ingest.ErrBusy) {
			t.Errorf("announce: %v, want that too many wait", err)
		}
		close(hang)
		time.Sleep(time.Minute)
		if err := n.Announce(t.Context(), cid.Undef, p.info()); err != nil {
			t.Errorf("announce after they failed: %v", err)
		}
	})
}
