package ingest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
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
