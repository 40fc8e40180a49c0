package interop

import (
	"crypto/rand"
	"slices"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/ipni/index-provider/engine"
	"github.com/ipni/index-provider/engine/xproviders"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

// other makes an extended provider.
func other(t *testing.T, addr string) xproviders.Info {
	t.Helper()
	key, _, err := crypto.GenerateEd25519Key(rand.Reader)
	must(t, err)
	id, err := peer.IDFromPrivateKey(key)
	must(t, err)
	return xproviders.Info{ID: id.String(), Metadata: []byte("\x80\x12"), Addrs: []string{addr}, Priv: key}
}

// extend publishes extended providers, for a context or for the whole chain.
func (p *publisher) extend(contextID string, override bool, with ...xproviders.Info) cid.Cid {
	p.t.Helper()
	last, _, err := p.GetLatestAdv(p.t.Context())
	must(p.t, err)
	addr, err := multiaddr.NewMultiaddr(p.addr)
	must(p.t, err)
	b := xproviders.NewAdBuilder(p.id, p.key, []multiaddr.Multiaddr{addr}).WithLastAdID(last).WithExtendedProviders(with...)
	if contextID != "" {
		b = b.WithContextID([]byte(contextID)).WithMetadata([]byte("\x80\x12")).WithOverride(override)
	}
	ad, err := b.BuildAndSign()
	must(p.t, err)
	c, err := p.Publish(p.t.Context(), *ad)
	must(p.t, err)
	p.chain = append(p.chain, c)
	return c
}

// providersOf returns who has a multihash.
func providersOf(t *testing.T, l lookup, mh multihash.Multihash) []string {
	t.Helper()
	var ids []string
	for _, r := range results(t, l, mh) {
		ids = append(ids, r.Provider.ID.String())
	}
	slices.Sort(ids)
	return ids
}

// TestExtendedProviders adds providers to a chain, and to and instead of those for one context.
func TestExtendedProviders(t *testing.T) {
	n := newNode(t, alone)
	p := newPublisher(t, n.URL["gateway"], engine.HttpPublisher)
	_, plain := p.put("plain", 10)
	_, added := p.put("added", 10)
	_, overridden := p.put("overridden", 10)
	chain := other(t, "/ip4/127.0.0.1/tcp/1111")
	more := other(t, "/ip4/127.0.0.1/tcp/2222")
	instead := other(t, "/ip4/127.0.0.1/tcp/3333")
	p.extend("", false, chain)
	p.extend("added", false, more)
	p.extend("overridden", true, instead)
	p.settled(n)

	for _, test := range []struct {
		mh   multihash.Multihash
		want []string
	}{
		{plain[0], []string{p.id.String(), chain.ID}},
		{added[0], []string{p.id.String(), chain.ID, more.ID}},
		{overridden[0], []string{p.id.String(), instead.ID}},
	} {
		slices.Sort(test.want)
		for _, l := range lookups(t, n) {
			if got := providersOf(t, l, test.mh); !slices.Equal(got, test.want) {
				t.Errorf("%s: %q, want %q", l.name, got, test.want)
			}
		}
	}
}
