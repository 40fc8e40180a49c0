package ingest_test

import (
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
)

// A stranger who signs a head that leads into the chain of another changes nothing of what is known of it.
func TestStrangerServesChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, stranger := newPublisher(1), newPublisher(2)
		a, b := p.add(t, "a", hash(1)), p.add(t, "b", hash(2))
		n := newNode(p, stranger).start(t, nil)
		n.sync(t, p)
		maps.Copy(stranger.blocks, p.blocks)
		stranger.setHead(b)
		n.Sync(t.Context(), stranger.info(), nil)
		time.Sleep(time.Hour)
		if s := n.status(t, stranger); s.Skipped != 2 {
			t.Fatalf("the chain of the stranger was not read: %+v", s)
		}
		n.want(t, a, state.Indexed)
		n.want(t, b, state.Indexed)

		clear(n.sink.groups) // the records are lost, and come back
		if err := n.Sync(t.Context(), p.info(), &ingest.SyncOptions{Resync: true}); err != nil {
			t.Fatal(err)
		}
		same(t, n, p)
	})
}
