package ingest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"

	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
)

// The extended providers of a context go with it, also if what names them is met after the removal; those
// of other contexts and what is advertised anew stay.
func TestExtendedProvidersGoWithContext(t *testing.T) {
	for name, holed := range map[string]bool{"in order": false, "found later": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, other := newPublisher(1), newIdentity(7)
				add := func(c string) cid.Cid {
					a := ad.Ad{ContextID: []byte(c), Metadata: metadata(1), Extended: &ad.Extended{Providers: []ad.ExtendedProvider{
						{ID: other.id, Addrs: []multiaddr.Multiaddr{p.addr}, Metadata: metadata(5)},
						{ID: p.id, Addrs: []multiaddr.Multiaddr{p.addr}},
					}}, Entries: p.entries(t, 1, hash(1))}
					head := p.build(t, a, p.identity, other.key)
					p.setHead(head)
					return head
				}
				add("stays")
				hole := add("goes")
				if holed {
					p.fault(hole, errMissing)
				}
				p.add(t, "x", hash(2))
				n := newNode(p).start(t, &ingest.Options{SegmentAds: 1})
				n.Sync(t.Context(), p.info(), nil)
				p.remove(t, "goes")
				n.Sync(t.Context(), p.info(), nil)
				p.fault(hole, nil)
				n.Sync(t.Context(), p.info(), nil)
				time.Sleep(time.Hour)
				want := func(c string, some bool) {
					t.Helper()
					contextual, _, err := n.registry.Extended(t.Context(), p.id, c)
					if err != nil || (contextual != nil) != some {
						t.Errorf("extended providers of %q: %+v, %v; want some: %t", c, contextual, err, some)
					}
				}
				if s := n.status(t, p); s.Lag != 0 || s.Ads != 4 {
					t.Fatalf("status %+v", s)
				}
				want("stays", true)
				want("goes", false)
				add("goes")
				n.sync(t, p)
				want("goes", true)
			})
		})
	}
}
