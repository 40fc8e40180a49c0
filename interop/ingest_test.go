package interop

import (
	"testing"

	"github.com/ipni/go-libipni/find/client"
	"github.com/ipni/go-libipni/find/model"
	"github.com/ipni/index-provider/engine"
	"github.com/multiformats/go-multicodec"
	"github.com/multiformats/go-multihash"
)

// alone is the configuration of an indexer that is one node.
const alone = `
[ipni]
roles = ["ingest", "store", "find"]
[ingest]
allow_private = true
freeze_at = 100
[p2p]
listen = ["/ip4/127.0.0.1/tcp/0"]
[find]
ttl = "0s"
negative_ttl = "0s"
[log]
format = "text"
access = false
level = "debug"
`

// lookup is a client of go-libipni.
type lookup struct {
	name string
	client.Finder
}

// lookups returns the plain and the double-hashed client.
func lookups(t *testing.T, n *node) []lookup {
	t.Helper()
	plain, err := client.New(n.URL["gateway"])
	must(t, err)
	sealed, err := client.NewDHashClient(client.WithDHStoreURL(n.URL["gateway"]), client.WithProvidersURL(n.URL["gateway"]), client.WithPcacheTTL(0))
	must(t, err)
	return []lookup{{"plain", plain}, {"double-hashed", sealed}}
}

// results asks a client for a multihash.
func results(t *testing.T, l lookup, mh multihash.Multihash) []model.ProviderResult {
	t.Helper()
	res, err := l.Find(t.Context(), mh)
	if err != nil {
		t.Fatalf("%s find %s: %v", l.name, mh.B58String(), err)
	}
	var all []model.ProviderResult
	for _, r := range res.MultihashResults {
		all = append(all, r.ProviderResults...)
	}
	return all
}

// sample is some of what was published, first and last included.
func sample(mhs []multihash.Multihash) []multihash.Multihash {
	return []multihash.Multihash{mhs[0], mhs[len(mhs)/2], mhs[len(mhs)-1]}
}

// found checks that both clients find mhs as the publisher's, under a context.
func found(t *testing.T, n *node, p *publisher, contextID string, mhs []multihash.Multihash) {
	t.Helper()
	for _, l := range lookups(t, n) {
		for _, mh := range sample(mhs) {
			all := results(t, l, mh)
			if len(all) != 1 {
				t.Fatalf("%s find %s: %d results: %v", l.name, mh.B58String(), len(all), all)
			}
			r := all[0]
			if string(r.ContextID) != contextID || r.Provider.ID != p.id || len(r.Provider.Addrs) != 1 || r.Provider.Addrs[0].String() != p.addr ||
				string(r.Metadata) != "\x80\x12" {
				t.Errorf("%s find %s: %+v", l.name, mh.B58String(), r)
			}
		}
	}
}

// gone checks that no client finds mhs.
func gone(t *testing.T, n *node, mhs []multihash.Multihash) {
	t.Helper()
	for _, l := range lookups(t, n) {
		for _, mh := range sample(mhs) {
			if all := results(t, l, mh); len(all) != 0 {
				t.Errorf("%s find %s: %v", l.name, mh.B58String(), all)
			}
		}
	}
}

// TestPublishers follows real publishers through additions, removals and additions again.
func TestPublishers(t *testing.T) {
	for _, test := range []struct {
		name string
		kind engine.PublisherKind
		more []engine.Option
	}{
		{"http", engine.HttpPublisher, nil},
		{"libp2p", engine.Libp2pPublisher, nil},
		{"hamt", engine.HttpPublisher, []engine.Option{engine.WithHamtEntries(multicodec.Murmur3X64_64, 5, 3)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newNode(t, alone)
			p := newPublisher(t, n.URL["gateway"], test.kind, test.more...)
			_, first := p.put("first", 1000)
			_, second := p.put("second", 7)
			p.settled(n)
			found(t, n, p, "first", first)
			found(t, n, p, "second", second)
			gone(t, n, multihashes(t, "never published", 3))

			p.remove("first")
			p.settled(n)
			gone(t, n, first)
			found(t, n, p, "second", second)

			_, again := p.put("first", 300)
			p.settled(n)
			found(t, n, p, "first", again)
			gone(t, n, first[300:])
		})
	}
}
