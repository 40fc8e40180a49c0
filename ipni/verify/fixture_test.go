package verify_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/ipni/verify"
	"github.com/hashstream/hashstream/kv/memkv"
)

// chunk is how many multihashes a block of entries of the tests has.
const chunk = 3

// publisher is a chain in memory: real blocks with real signatures.
type publisher struct {
	key  crypto.PrivKey
	id   peer.ID
	addr multiaddr.Multiaddr

	mu      sync.Mutex
	head    cid.Cid
	blocks  map[cid.Cid][]byte
	fetched map[cid.Cid]int
}

func newPublisher(n byte) *publisher {
	key, _, err := crypto.GenerateEd25519Key(bytes.NewReader(bytes.Repeat([]byte{n}, 64)))
	if err != nil {
		panic(err)
	}
	id, err := peer.IDFromPrivateKey(key)
	if err != nil {
		panic(err)
	}
	addr, err := multiaddr.NewMultiaddr("/ip4/8.8.8.8/tcp/80/http")
	if err != nil {
		panic(err)
	}
	return &publisher{key: key, id: id, addr: addr, blocks: map[cid.Cid][]byte{}, fetched: map[cid.Cid]int{}}
}

func (p *publisher) Head(context.Context) (cid.Cid, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.head, nil
}

func (p *publisher) Block(_ context.Context, c cid.Cid, _ ipni.Kind) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetched[c]++
	block, ok := p.blocks[c]
	if !ok {
		return nil, fmt.Errorf("404: %w", fs.ErrNotExist)
	}
	return block, nil
}

// lose makes the publisher forget a block.
func (p *publisher) lose(c cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.blocks, c)
}

func (p *publisher) count(c cid.Cid) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fetched[c]
}

// extend adds an advertisement to the chain.
func (p *publisher) extend(t testing.TB, a ad.Ad) cid.Cid {
	t.Helper()
	a.Previous, a.Addrs = p.head, []multiaddr.Multiaddr{p.addr}
	if a.Provider == "" {
		a.Provider = p.id
	}
	c, block, err := ad.New(a, p.key)
	if err != nil {
		t.Fatal(err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocks[c], p.head = block, c
	return c
}

// add advertises the contents from … to under a context.
func (p *publisher) add(t testing.TB, context string, from, to int) (c, entries cid.Cid) {
	t.Helper()
	next := cid.Undef
	for at := from; at < to; at += chunk {
		id, block, err := ad.EncodeChunk(hashes(at, min(at+chunk, to)), next)
		if err != nil {
			t.Fatal(err)
		}
		p.mu.Lock()
		p.blocks[id], next = block, id
		p.mu.Unlock()
	}
	return p.extend(t, ad.Ad{ContextID: []byte(context), Metadata: metadata(0), Entries: next}), next
}

func metadata(n byte) []byte { return []byte{0x80, 0x12, n} }

func hash(n int) multihash.Multihash {
	mh, err := multihash.Sum(fmt.Appendf(nil, "content %d", n), multihash.SHA2_256, -1)
	if err != nil {
		panic(err)
	}
	return mh
}

func hashes(from, to int) (all ipni.Multihashes) {
	for n := from; n < to; n++ {
		all = append(all, hash(n)...)
	}
	return all
}

// node is an index over one chain.
type node struct {
	*publisher
	*store.Store
	values   valuestore.Store
	rows     *state.Store
	ingester *ingest.Ingester
}

// ingested returns an index that has read the chain of p to its end.
func ingested(t testing.TB, p *publisher, compact bool) *node {
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
	err := n.ingester.Sync(t.Context(), peer.AddrInfo{ID: n.publisher.id, Addrs: []multiaddr.Multiaddr{n.addr}}, nil)
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
	return ipni.Group{Context: ipni.Context{Provider: n.publisher.id, ID: context}, Epoch: row.Epoch}
}

// damage deletes records of a group behind the back of ingestion.
func (n *node) damage(t testing.TB, g ipni.Group, which ...int) {
	t.Helper()
	var records valuestore.Records
	for _, i := range which {
		value := []byte(hash(i))
		if !n.Compact() {
			value = dhash.Seal(nil, g.ValueKey(), hash(i))
		}
		records = records.Append(dhash.SecondHash(hash(i)), value)
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
	r, err := verify.Run(t.Context(), n.publisher.id, n.publisher, n.rows, n.Store, &o)
	if err != nil {
		t.Fatal(err)
	}
	return r, found
}
