package ingest_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/ipni/go-libipni/find/model"

	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/registry"
)

func (n *node) info(t *testing.T, p *publisher) *model.ProviderInfo {
	t.Helper()
	info, err := registry.NewView(n.registry, nil).Provider(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// A node that freezes tells of each provider what it had last, until it is not frozen any more: who
// goes on elsewhere stops there.
func TestFrozenAt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, idle, fresh, behind := newPublisher(1), newPublisher(2), newPublisher(3), newPublisher(4)
		last := p.add(t, "a", hash(1))
		rest := idle.add(t, "a", hash(2))
		hole := behind.add(t, "a", hash(3))
		behind.add(t, "b", hash(4))
		behind.fault(hole, errMissing)
		var full atomic.Bool
		n := newNode(p, idle, fresh, behind).start(t, &ingest.Options{Frozen: full.Load})
		n.sync(t, p)
		n.sync(t, idle)
		n.Sync(t.Context(), behind.info(), nil)
		want := func(when string, of *publisher, at cid.Cid, frozen bool) {
			t.Helper()
			if info := n.info(t, of); info.FrozenAt != at || (info.FrozenAtTime != "") != frozen {
				t.Errorf("%s: frozen at %s, %q; want %s, %t", when, info.FrozenAt, info.FrozenAtTime, at, frozen)
			}
		}
		want("before", p, cid.Undef, false)
		taken := n.info(t, p).LastAdvertisementTime
		for name, freeze := range map[string]func(bool){"disk": full.Store, "hand": func(on bool) {
			set := n.Freeze
			if !on {
				set = n.Unfreeze
			}
			if err := set(t.Context()); err != nil {
				t.Fatal(err)
			}
		}} {
			time.Sleep(time.Hour)
			freeze(true)
			head := p.add(t, name, hash(int(name[0])))
			n.sync(t, p)
			want(name, p, last, true)
			if got := n.info(t, p); got.LastAdvertisement != head || name == "disk" && last == rest && got.FrozenAtTime != taken {
				t.Errorf("%s: %+v", name, got)
			}
			fresh.add(t, name, hash(9))
			n.sync(t, fresh)
			time.Sleep(2 * time.Minute)
			want(name, idle, rest, true)
			want(name, behind, cid.Undef, true) // not all below its last is read
			n.stop()
			n.start(t, &ingest.Options{Frozen: full.Load})
			time.Sleep(2 * time.Minute)
			want(name+" after a restart", p, last, true)
			freeze(false)
			time.Sleep(2 * time.Minute)
			for _, x := range []*publisher{p, idle, fresh, behind} {
				want(name+" is over", x, cid.Undef, false)
			}
			last = head
		}
	})
}
