package ingest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/ipni/store"
	"github.com/hashstream/hashstream/ipni/valuestore/kvstore"
	"github.com/hashstream/hashstream/kv/memkv"
)

// contexts returns the contexts that a lookup finds.
func contexts(t *testing.T, l ipni.Lookup, mh multihash.Multihash) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	for c, err := range l.Contexts(t.Context(), mh) {
		if err != nil {
			t.Fatal(err)
		}
		found[viewKey(c)] = true
	}
	return found
}

// TestWithStore ingests into the real store, compact and sealed.
func TestWithStore(t *testing.T) {
	for _, compact := range []bool{true, false} {
		s, err := store.Open(t.Context(), kvstore.New(memkv.New()), memkv.New(), &store.Options{Compact: compact})
		if err != nil {
			t.Fatal(err)
		}
		p, q, x := newPublisher(1), newPublisher(2), newIdentity(3)
		for i := range 100 {
			p.add(t, fmt.Sprint("p", i%10), hash(i), hash(i+1), hash(i+2), hash(i+3))
		}
		p.remove(t, "p3")
		p.add(t, "p3", hash(1000))
		for i := range 40 { // two publishers at once for the contexts of one provider
			for _, by := range []*publisher{p, q} {
				by.extend(t, ad.Ad{Provider: x.id, ContextID: []byte("x"), Metadata: metadata(1), Entries: by.entries(t, 3, hash(2000+i))})
			}
		}
		state := memkv.New()
		n := &node{publishers: []*publisher{p, q}}
		in := ingest.New(state, s, registry.New(state), n.open, &ingest.Options{Policy: &policy.Options{
			Delegates: map[peer.ID][]peer.ID{x.id: {p.id, q.id}},
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		done := make(chan struct{})
		go func() {
			defer close(done)
			in.Run(ctx)
		}()
		synced := make(chan error)
		for _, by := range []*publisher{p, q} {
			go func() { synced <- in.Sync(ctx, by.info(), nil) }()
		}
		for range 2 {
			if err := <-synced; err != nil {
				t.Fatal(err)
			}
		}
		c := ipni.Context{Provider: p.id, ID: "p3"}
		if got := contexts(t, s, hash(53)); len(got) != 3 || got[viewKey(c)] {
			t.Errorf("compact %t: %v, want the contexts p0, p1 and p2", compact, got)
		}
		if got := contexts(t, s, hash(1000)); !got[viewKey(c)] || len(got) != 1 {
			t.Errorf("compact %t: %v, want what was added again", compact, got)
		}
		if got := contexts(t, s, hash(2039)); len(got) != 1 {
			t.Errorf("compact %t: %v", compact, got)
		}
		if md, err := s.Metadata(t.Context(), c); err != nil || string(md) != string(metadata(0)) {
			t.Errorf("metadata %x, %v", md, err)
		}
		if err := in.Remove(t.Context(), p.id); err != nil {
			t.Fatal(err)
		}
		if got := contexts(t, s, hash(53)); len(got) != 0 {
			t.Errorf("compact %t: %v after the provider was removed", compact, got)
		}
		if _, err := s.Metadata(t.Context(), c); err == nil {
			t.Error("metadata of the removed provider is left")
		}
		cancel()
		<-done
	}
}

func ExampleIngester() {
	p := newPublisher(1)
	state, records := memkv.New(), newSink()
	open := func(context.Context, peer.AddrInfo) (ipni.Chain, error) { return p, nil }
	in := ingest.New(state, records, registry.New(state), open, &ingest.Options{Workers: 2})

	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		in.Run(ctx)
	}()
	fmt.Println(in.Sync(ctx, p.info(), nil))
	cancel()
	<-done
	// Output: <nil>
}
