package routinghttp_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/boxo/routing/http/client"
	"github.com/ipfs/boxo/routing/http/server"
	"github.com/ipfs/boxo/routing/http/types"
	boxoiter "github.com/ipfs/boxo/routing/http/types/iter"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashstream/hashstream/digest"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/routinghttp"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// finder finds what it holds, and then fails if it has an error.
type finder struct {
	results []ipni.Result
	err     error
}

func (f finder) Find(ctx context.Context, _ multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) {
		for _, r := range f.results {
			if !yield(r, nil) {
				return
			}
		}
		if f.err != nil {
			yield(ipni.Result{}, f.err)
		}
	}
}

func testAddrs(t testing.TB, texts ...string) (addrs []multiaddr.Multiaddr) {
	t.Helper()
	for _, text := range texts {
		a, err := multiaddr.NewMultiaddr(text)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, a)
	}
	return addrs
}

func testMetadata(t testing.TB, protocols ...ad.Protocol) []byte {
	t.Helper()
	m, err := ad.Metadata(protocols...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

var (
	bitswap   = ad.Protocol{Code: ad.Bitswap}
	gateway   = ad.Protocol{Code: ad.GatewayHTTP}
	graphsync = ad.Protocol{Code: ad.GraphsyncFilecoin, Payload: []byte{0xa1, 0x61, 'V', 0xf5}} // {"V": true}
)

// sample is three peers in five results: one with everything, one that is known by its id
// alone, one with a gateway.
func sample(t testing.TB) []ipni.Result {
	a := peer.AddrInfo{ID: ipnitest.ID(1), Addrs: testAddrs(t, "/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1")}
	b := peer.AddrInfo{ID: ipnitest.ID(2)}
	c := peer.AddrInfo{ID: ipnitest.ID(3), Addrs: testAddrs(t, "/dns/example.com/tcp/443/https")}
	return []ipni.Result{
		{Provider: a, ContextID: []byte("1"), Metadata: testMetadata(t, bitswap)},
		{Provider: b, ContextID: []byte("1")},
		{Provider: a, ContextID: []byte("2"), Metadata: testMetadata(t, graphsync)},
		{Provider: c, ContextID: []byte("1"), Metadata: testMetadata(t, gateway)},
		{Provider: a, ContextID: []byte("3"), Metadata: testMetadata(t, bitswap)},
	}
}

func testCID(t testing.TB) cid.Cid {
	d, err := digest.Sum(digest.SHA256, []byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	return d.CID(cid.Raw)
}

// serve serves what f finds.
func serve(t testing.TB, f ipni.Finder, o *routinghttp.Options) *httptest.Server {
	s := httptest.NewServer(routinghttp.NewHandler(f, o))
	t.Cleanup(s.Close)
	return s
}

// accepting asks for one media type, and notes which one came back.
type accepting struct {
	accept string
	got    *string
}

func (a accepting) Do(r *http.Request) (*http.Response, error) {
	r.Header.Set("Accept", a.accept)
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		*a.got = res.Header.Get("Content-Type")
	}
	return res, err
}

// TestBoxoClient asks this server with the client of Kubo.
func TestBoxoClient(t *testing.T) {
	s := serve(t, finder{results: sample(t)}, nil)
	one, two, three := ipnitest.ID(1), ipnitest.ID(2), ipnitest.ID(3)
	for _, tt := range []struct {
		name             string
		addrs, protocols []string
		want             []peer.ID
		wantAddrs        int // of the first peer
	}{
		{"everything", nil, nil, []peer.ID{one, two, three}, 2},
		{"bitswap", nil, []string{"transport-bitswap"}, []peer.ID{one}, 2},
		{"as Kubo asks", nil, []string{"unknown", "transport-bitswap"}, []peer.ID{one, two}, 2},
		{"upper case", []string{"QUIC-V1"}, []string{"Transport-Bitswap"}, []peer.ID{one}, 1},
		{"https", []string{"https"}, nil, []peer.ID{three}, 1},
		{"not tcp", []string{"!tcp"}, nil, []peer.ID{one}, 1},
		{"not tcp or unknown", []string{"!tcp", "unknown"}, nil, []peer.ID{two}, 0},
		{"nothing", []string{"webtransport"}, nil, nil, 0},
	} {
		for _, accept := range []string{"application/json", "application/x-ndjson"} {
			t.Run(tt.name+" "+accept, func(t *testing.T) {
				got := ""
				c, err := client.New(s.URL, client.WithHTTPClient(accepting{accept, &got}), client.WithDisabledLocalFiltering(true),
					client.WithAddrFilter(slices.Clone(tt.addrs)), client.WithProtocolFilter(slices.Clone(tt.protocols)))
				if err != nil {
					t.Fatal(err)
				}
				it, err := c.FindProviders(t.Context(), testCID(t))
				if err != nil {
					t.Fatal(err)
				}
				records, err := boxoiter.ReadAllResults(it)
				if err != nil || got != accept {
					t.Fatalf("%v, an answer of type %s", err, got)
				}
				var ids []peer.ID
				for _, r := range records {
					p := r.(*types.PeerRecord)
					ids = append(ids, *p.ID)
					if *p.ID == one {
						checkFirst(t, p)
					}
				}
				if diff := cmp.Diff(tt.want, ids); diff != "" {
					t.Error(diff)
				}
				if len(ids) > 0 && len(records[0].(*types.PeerRecord).Addrs) != tt.wantAddrs {
					t.Errorf("addresses %v, want %d", records[0].(*types.PeerRecord).Addrs, tt.wantAddrs)
				}
			})
		}
	}
}

// checkFirst checks that the results of the first peer are one record, with the metadata as
// other indexers write it: with the code of its protocol.
func checkFirst(t *testing.T, p *types.PeerRecord) {
	t.Helper()
	if diff := cmp.Diff([]string{"transport-bitswap", "transport-graphsync-filecoinv1"}, p.Protocols); diff != "" {
		t.Error(diff)
	}
	want := map[string]json.RawMessage{
		"transport-bitswap":              json.RawMessage(`"gBI="`),
		"transport-graphsync-filecoinv1": json.RawMessage(`"` + base64.StdEncoding.EncodeToString([]byte{0x90, 0x12, 0xa1, 0x61, 'V', 0xf5}) + `"`),
	}
	if diff := cmp.Diff(want, p.Extra); diff != "" {
		t.Error(diff)
	}
}

// TestBoxoClientErrors: a failure is not an empty answer.
func TestBoxoClientErrors(t *testing.T) {
	s := serve(t, finder{err: errors.New("broken")}, nil)
	c, err := client.New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.FindProviders(t.Context(), testCID(t)); err == nil {
		t.Error("no error")
	}
}

// router is boxo's idea of what this package finds.
type router struct {
	server.DelegatedRouter // nil: nothing else is asked

	records []types.Record
}

func (r router) FindProviders(context.Context, cid.Cid, int) (boxoiter.ResultIter[types.Record], error) {
	return boxoiter.ToResultIter(boxoiter.FromSlice(r.records)), nil
}

// TestBoxoServer asks boxo's server, which someguy is, with this client.
func TestBoxoServer(t *testing.T) {
	one, two, three := ipnitest.ID(1), ipnitest.ID(2), ipnitest.ID(3)
	boxoAddrs := func(texts ...string) (as []types.Multiaddr) {
		for _, a := range testAddrs(t, texts...) {
			as = append(as, types.Multiaddr{Multiaddr: a})
		}
		return as
	}
	records := []types.Record{
		&types.PeerRecord{Schema: types.SchemaPeer, ID: &one, Addrs: boxoAddrs("/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1"),
			Protocols: []string{"transport-graphsync-filecoinv1", "transport-bitswap", "transport-x"},
			Extra:     map[string]json.RawMessage{"transport-graphsync-filecoinv1": json.RawMessage(`"kBKhYVb1"`), "transport-x": json.RawMessage(`{"a":1}`)}},
		&types.UnknownRecord{Schema: "future", Bytes: []byte(`{"Schema":"future","x":1}`)},
		&types.PeerRecord{Schema: types.SchemaPeer, ID: &two},
		//nolint:staticcheck
		//lint:ignore SA1019 a server may still send it
		&types.BitswapRecord{Schema: types.SchemaBitswap, Protocol: "transport-bitswap", ID: &three, Addrs: boxoAddrs("/ip6/2001:db8::1/tcp/1")},
	}
	want := []ipni.Result{
		{Provider: peer.AddrInfo{ID: one, Addrs: testAddrs(t, "/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.1/udp/4001/quic-v1")}, Metadata: testMetadata(t, bitswap, graphsync)},
		{Provider: peer.AddrInfo{ID: two}},
		{Provider: peer.AddrInfo{ID: three, Addrs: testAddrs(t, "/ip6/2001:db8::1/tcp/1")}, Metadata: testMetadata(t, bitswap)},
	}
	for name, options := range map[string][]server.Option{"lines": nil, "document": {server.WithStreamingResultsDisabled()}} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(server.Handler(router{records: records}, append(options, server.WithPrometheusRegistry(prometheus.NewRegistry()))...))
			defer s.Close()
			for _, tt := range []struct {
				filter filter.Filter
				want   []ipni.Result
			}{
				{filter.Filter{}, want},
				{filter.Filter{Protocols: []string{"transport-x"}}, want[:1]},
				{filter.Filter{Addrs: []string{"unknown"}}, want[1:2]},
				{filter.Filter{Addrs: []string{"!ip4"}, Protocols: []string{"Transport-Bitswap", "unknown"}}, want[2:]},
				{filter.Filter{Protocols: []string{"transport-y"}}, nil},
			} {
				c, err := routinghttp.NewClient(s.URL, &routinghttp.ClientOptions{Filter: tt.filter})
				if err != nil {
					t.Fatal(err)
				}
				got, err := collect(c.Find(t.Context(), testCID(t).Hash()))
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Errorf("%+v: %s", tt.filter, diff)
				}
			}
		})
	}
}

func collect(seq iter.Seq2[ipni.Result, error]) (all []ipni.Result, err error) {
	for r, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

// TestBothEnds asks this server with this client.
func TestBothEnds(t *testing.T) {
	s := serve(t, finder{results: sample(t)}, nil)
	c, err := routinghttp.NewClient(s.URL+"/routing/v1/", nil)
	if err != nil {
		t.Fatal(err)
	}
	got, err := collect(c.Find(t.Context(), testCID(t).Hash()))
	if err != nil {
		t.Fatal(err)
	}
	in := sample(t)
	want := []ipni.Result{
		{Provider: in[0].Provider, Metadata: testMetadata(t, bitswap, graphsync)}, {Provider: in[1].Provider}, {Provider: in[3].Provider, Metadata: in[3].Metadata},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
