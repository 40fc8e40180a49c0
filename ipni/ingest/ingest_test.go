package ingest_test

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/hashstream/hashstream/ipni/ingest/state"
)

func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		a := p.add(t, "a", hash(1), hash(2), hash(3), hash(4))
		b := p.add(t, "b", hash(5))
		r := p.remove(t, "a")
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		if d := cmp.Diff(p.oracle(t, p.head()), n.sink.view()); d != "" {
			t.Errorf("view (-want +got):\n%s", d)
		}
		n.want(t, a, state.Skipped)
		n.want(t, b, state.Indexed)
		n.want(t, r, state.Indexed)
		c := p.add(t, "a", hash(9))
		n.want(t, c, state.Unknown)
		n.sync(t, p)
		n.want(t, c, state.Indexed)
		if d := cmp.Diff(p.oracle(t, p.head()), n.sink.view()); d != "" {
			t.Errorf("view (-want +got):\n%s", d)
		}
		if got := n.status(t, p); got.Lag != 0 || len(got.Gaps) != 0 || got.Ads != 4 || got.Head != c {
			t.Errorf("status %+v", got)
		}
	})
}
