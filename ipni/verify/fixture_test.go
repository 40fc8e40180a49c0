package verify_test

import (
	"context"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/verify"
	"github.com/hashstream/hashstream/kv/memkv"
)

// chunk is how many multihashes a block of entries of the tests has.
const chunk = 3

var address = multiaddr.StringCast("/ip4/8.8.8.8/tcp/80/http")

// publisher is a chain whose publisher has an address.
type publisher struct{ *ipnitest.Chain }

func newPublisher(n byte) publisher {
	key, _ := ipnitest.Key(n)
	return publisher{ipnitest.NewChain(key)}
}

// count returns how often a block was asked for.
func (p publisher) count(c cid.Cid) (n int) {
	for _, asked := range p.Asked() {
		if asked.CID == c {
			n++
		}
	}
	return n
}

// extend adds an advertisement to the chain.
func (p publisher) extend(t testing.TB, a ad.Ad) cid.Cid {
	t.Helper()
	a.Addrs = []multiaddr.Multiaddr{address}
	return p.Add(t, a)
}

// add advertises the contents from … to under a context.
func (p publisher) add(t testing.TB, context string, from, to int) (c, entries cid.Cid) {
	t.Helper()
	var all []multihash.Multihash
	for n := from; n < to; n++ {
		all = append(all, ipnitest.Hash(n))
	}
	entries = p.Entries(t, chunk, all...)
	return p.extend(t, ad.Ad{ContextID: []byte(context), Metadata: metadata(0), Entries: entries}), entries
}

func metadata(n byte) []byte { return []byte{0x80, 0x12, n} }

// node is an index over one chain.
type node struct {
	publisher publisher
	*store.Store
	values   valuestore.Store
	rows     *state.Store
	ingester *ingest.Ingester
}

// ingested returns an index that has read the chain of p to its end.
func ingested(t testing.TB, p publisher, compact bool) *node {
	t.Helper()
	keys := memkv.New()
	values := kvstore.New(memkv.New())
	s, err := store.Open(t.Context(), values, keys, &store.Options{Compact: compact})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{publisher: p, Store: s, values: values, rows: state.New(keys)}
	n.ingester = ingest.New(keys, s, nil, func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return p, nil }, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.ingester.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	n.sync(t)
	return n
}

func (n *node) sync(t testing.TB) {
	t.Helper()
	err := n.ingester.Sync(t.Context(), peer.AddrInfo{ID: n.publisher.ID, Addrs: []multiaddr.Multiaddr{address}}, nil)
	if err != nil {
		t.Fatal(err)
	}
}

// group returns the group that an advertisement's multihashes went to.
func (n *node) group(t testing.TB, c cid.Cid, context string) ipni.Group {
	t.Helper()
	row, err := n.rows.Ad(t.Context(), c)
	if err != nil || row.Epoch == 0 {
		t.Fatalf("advertisement %s: %+v, %v", c, row, err)
	}
	return ipni.Group{Context: ipni.Context{Provider: n.publisher.ID, ID: context}, Epoch: row.Epoch}
}

// damage deletes records of a group behind the back of ingestion.
func (n *node) damage(t testing.TB, g ipni.Group, which ...int) {
	t.Helper()
	var records valuestore.Records
	for _, i := range which {
		value := []byte(ipnitest.Hash(i))
		if !n.Compact() {
			value = dhash.Seal(nil, g.ValueKey(), ipnitest.Hash(i))
		}
		records = records.Append(dhash.SecondHash(ipnitest.Hash(i)), value)
	}
	for tag := valuestore.Tag(1); tag < 20; tag++ {
		if err := n.values.Delete(t.Context(), tag, records); err != nil {
			t.Fatal(err)
		}
	}
}

// verify returns the report and the findings.
func (n *node) verify(t testing.TB, o verify.Options) (verify.Report, []verify.Finding) {
	t.Helper()
	var found []verify.Finding
	o.Found = func(f verify.Finding) { found = append(found, f) }
	r, err := verify.Run(t.Context(), n.publisher.ID, n.publisher, n.rows, n.Store, &o)
	if err != nil {
		t.Fatal(err)
	}
	return r, found
}
