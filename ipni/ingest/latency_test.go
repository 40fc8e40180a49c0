package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/policy"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/kv/memkv"
)

// served serves the chain of p over HTTP, each answer after a while, and returns where.
func (p *publisher) served(t testing.TB, after time.Duration) peer.AddrInfo {
	chain := ipnisync.Handler(p, p.key, nil)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(after)
		chain.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	a, err := multiaddr.NewMultiaddr(fmt.Sprintf("/ip4/127.0.0.1/tcp/%s/http", s.URL[len("http://127.0.0.1:"):]))
	if err != nil {
		t.Fatal(err)
	}
	return peer.AddrInfo{ID: p.id, Addrs: []multiaddr.Multiaddr{a}}
}

// BenchmarkLatency reads a chain from a server that answers after 20 ms, with entries of a
// number of chunks in each advertisement: what is to be read next should be on its way
// while the rest is written.
func BenchmarkLatency(b *testing.B) {
	for _, chunks := range []int{1, 8, 16} {
		b.Run(fmt.Sprintf("chunks=%d", chunks), func(b *testing.B) {
			const ads = 500
			p := newPublisher(1)
			for i := range ads {
				mhs := make([]multihash.Multihash, 3*chunks)
				for j := range mhs {
					mhs[j] = hash(i*3*chunks + j)
				}
				p.extend(b, ad.Ad{ContextID: fmt.Append(nil, i), Metadata: metadata(1), Entries: p.entries(b, 3, mhs...)})
			}
			at := p.served(b, 20*time.Millisecond)
			for b.Loop() {
				state := memkv.New()
				open := func(_ context.Context, info peer.AddrInfo) (ipni.Chain, error) {
					return ipnisync.New(info, &ipnisync.Options{Transport: ipnisync.NewTransport(true)})
				}
				in := ingest.New(state, newSink(), registry.New(state), open, &ingest.Options{Policy: &policy.Options{AllowPrivate: true}})
				ctx, cancel := context.WithCancel(b.Context())
				done := make(chan struct{})
				go func() {
					defer close(done)
					in.Run(ctx)
				}()
				if err := in.Sync(ctx, at, nil); err != nil {
					b.Fatal(err)
				}
				cancel()
				<-done
			}
			b.ReportMetric(float64(ads)*float64(b.N)/b.Elapsed().Seconds(), "ads/s")
		})
	}
}

// What is below a segment is on its way while the segment is processed, and each block is
// fetched once.
func TestLookAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1).drips(20 * time.Millisecond)
		for i := range 500 {
			var mhs []multihash.Multihash
			for j := range 8 {
				mhs = append(mhs, hash(8*i+j))
			}
			p.extend(t, ad.Ad{ContextID: fmt.Append(nil, i), Metadata: metadata(1), Entries: p.entries(t, 1, mhs...)})
		}
		n := newNode(p).start(t, &ingest.Options{Slice: time.Second})
		began := time.Now()
		n.sync(t, p)
		took := time.Since(began)
		t.Logf("took %s", took)
		// 500 advertisements one after the other, and what the last segment takes.
		if took > 14*time.Second {
			t.Errorf("took %s", took)
		}
		same(t, n, p)
		again := 0
		for _, times := range p.fetched {
			again += times - 1
		}
		if again > 300 { // of 4,500: entries that were begun when a turn ended
			t.Errorf("%d blocks were fetched again", again)
		}
	})
}

// A chain that ends, is missing an advertisement, or is read to where it is known is read as
// well when it is read ahead.
func TestLookAheadEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPublisher(1)
		p.chain(t, 100)
		n := newNode(p).start(t, nil)
		n.sync(t, p)
		known := p.head()
		all := p.chain(t, 200)
		p.drips(20 * time.Millisecond)
		p.fault(all[30], errMissing)
		before := p.count(known)
		n.Sync(t.Context(), p.info(), nil)
		p.fault(all[30], nil)
		time.Sleep(time.Hour)
		same(t, n, p)
		if got := p.count(known) - before; got != 0 {
			t.Errorf("what is known was fetched %d times again", got)
		}
		if got := p.count(all[0]); got != 1 {
			t.Errorf("the oldest was fetched %d times", got)
		}
	})
}
