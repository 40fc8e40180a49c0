package routinghttp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ad"
	"github.com/hashstream/hashstream/ipni/ipnitest"
	"github.com/hashstream/hashstream/routinghttp"
)

// finding is a finder by a function.
type finding func(ctx context.Context, yield func(ipni.Result, error) bool)

func (f finding) Find(ctx context.Context, _ multihash.Multihash) iter.Seq2[ipni.Result, error] {
	return func(yield func(ipni.Result, error) bool) { f(ctx, yield) }
}

func path(t testing.TB) string { return "/routing/v1/providers/" + testCID(t).String() }

// ask sends a request to a handler, without a server.
func ask(f ipni.Finder, o *routinghttp.Options, method, target string, accept ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for _, a := range accept {
		r.Header.Add("Accept", a)
	}
	w := httptest.NewRecorder()
	routinghttp.NewHandler(f, o).ServeHTTP(w, r)
	return w.Result()
}

const (
	asJSON  = "application/json"
	asLines = "application/x-ndjson"
)

func TestStatuses(t *testing.T) {
	ok := finder{results: sample(t)}
	timeout := &net.DNSError{IsTimeout: true}
	for _, tt := range []struct {
		name, method, target, accept string
		finder                       ipni.Finder
		want                         int
	}{
		{"found", "GET", path(t), asJSON, ok, 200},
		{"lines", "GET", path(t), asLines, ok, 200},
		{"head", "HEAD", path(t), asJSON, ok, 200},
		{"head of lines", "HEAD", path(t), asLines, ok, 200},
		{"a CID of version 0", "GET", "/routing/v1/providers/QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWKPbdG", asJSON, ok, 200},
		{"absent", "GET", path(t), asJSON, finder{}, 200},
		{"absent lines", "GET", path(t), asLines, finder{}, 200},
		{"not a CID", "GET", "/routing/v1/providers/x", asJSON, ok, 422},
		{"a long name", "GET", "/routing/v1/providers/z" + strings.Repeat("1", 600), asJSON, ok, 422},
		{"a long, valid CID", "GET", "/routing/v1/providers/" + longCID(t), asJSON, ok, 422},
		{"a bad filter", "GET", path(t) + "?filter-addrs=" + strings.Repeat("x", 64), asJSON, ok, 422},
		{"a long query", "GET", path(t) + "?x=" + strings.Repeat("x", 20<<10), asJSON, ok, 422},
		{"no type", "GET", path(t), "text/html", ok, 406},
		{"options", "OPTIONS", path(t), "", ok, 204},
		{"put", "PUT", path(t), "", ok, 501},
		{"put, as it was once", "PUT", "/routing/v1/providers/", "", ok, 501},
		{"post", "POST", "/routing/v1/providers", "", ok, 501},
		{"delete", "DELETE", path(t), "", ok, 501},
		{"peers", "GET", "/routing/v1/peers/12D3KooWAHoEkEqnKzM5PXFygh2movVBCSX3k8tDsT2cneU68Gyt", asJSON, ok, 501},
		{"names", "PUT", "/routing/v1/ipns/k51", asJSON, ok, 501},
		{"closest peers", "GET", "/routing/v1/dht/closest/peers/k51", asJSON, ok, 501},
		{"no path", "GET", "/routing/v1/", asJSON, ok, 400},
		{"no CID", "GET", "/routing/v1/providers/", asJSON, ok, 400},
		{"too much of a path", "GET", path(t) + "/x", asJSON, ok, 400},
		{"another version", "GET", "/routing/v2/providers/x", asJSON, ok, 400},
		{"broken", "GET", path(t), asJSON, finder{err: errors.New("secret.example broke")}, 502},
		{"broken lines", "GET", path(t), asLines, finder{err: errors.New("secret.example broke")}, 502},
		{"broken after results", "GET", path(t), asJSON, finder{sample(t), errors.New("secret.example broke")}, 502},
		{"absence is no error of a finder", "GET", path(t), asJSON, finder{err: fs.ErrNotExist}, 502},
		{"slow", "GET", path(t), asJSON, finder{err: fmt.Errorf("ask: %w", context.DeadlineExceeded)}, 504},
		{"slow network", "GET", path(t), asLines, finder{err: fmt.Errorf("ask: %w", timeout)}, 504},
		{"what one behind refuses", "GET", path(t), asJSON, finder{err: &routinghttp.Error{Status: 422}}, 502},
		{"what was slow behind", "GET", path(t), asJSON, finder{err: &routinghttp.Error{Status: 504}}, 504},
		{"a result of nobody", "GET", path(t), asJSON, finder{results: []ipni.Result{{}}}, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := ask(tt.finder, nil, tt.method, tt.target, tt.accept)
			text := body(t, res)
			if res.StatusCode != tt.want {
				t.Errorf("status %d, want %d", res.StatusCode, tt.want)
			}
			h := res.Header
			if h.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(h.Get("Access-Control-Allow-Methods"), "GET") {
				t.Errorf("scripts elsewhere cannot read it: %v", h)
			}
			if res.StatusCode >= 400 && (h.Get("Cache-Control") != "no-store" || !strings.HasPrefix(h.Get("Content-Type"), "text/plain")) {
				t.Errorf("headers of an error: %v", h)
			}
			if strings.Contains(text, "secret") || tt.method == "HEAD" && text != "" {
				t.Errorf("body %q", text)
			}
		})
	}
}

func longCID(t *testing.T) string {
	t.Helper()
	mh, err := multihash.Sum(make([]byte, 400), multihash.IDENTITY, -1)
	if err != nil {
		t.Fatal(err)
	}
	return cid.NewCidV1(cid.Raw, mh).String()
}

// TestAbsence: an empty answer is JSON with an empty list, never null, and is soon asked for again.
func TestAbsence(t *testing.T) {
	everything := finder{results: sample(t)}
	for _, tt := range []struct {
		finder         ipni.Finder
		target, accept string
		want           string
	}{
		{finder{}, path(t), asJSON, `{"Providers":[]}`},
		{finder{}, path(t), asLines, ""},
		{everything, path(t) + "?filter-addrs=webtransport", asJSON, `{"Providers":[]}`},
		{everything, path(t) + "?filter-addrs=webtransport", asLines, ""},
	} {
		res := ask(tt.finder, nil, "GET", tt.target, tt.accept)
		if got := body(t, res); got != tt.want || res.Header.Get("Cache-Control") != "public, max-age=15" || res.Header.Get("Content-Type") != tt.accept {
			t.Errorf("%s: %q, %v", tt.accept, got, res.Header)
		}
	}
}

func TestHeaders(t *testing.T) {
	for _, accept := range []string{asJSON, asLines} {
		get, head := ask(finder{results: sample(t)}, nil, "GET", path(t), accept), ask(finder{results: sample(t)}, nil, "HEAD", path(t), accept)
		text := body(t, get)
		for name, want := range map[string]string{
			"Content-Type": accept, "Vary": "Accept", "Cache-Control": "public, max-age=300, stale-while-revalidate=600, stale-if-error=86400",
		} {
			if got := get.Header.Get(name); got != want || head.Header.Get(name) != want {
				t.Errorf("%s of %s: %q, want %q", name, accept, got, want)
			}
		}
		if _, err := http.ParseTime(get.Header.Get("Last-Modified")); err != nil {
			t.Error(err)
		}
		if accept == asJSON && (get.ContentLength != int64(len(text)) || head.Header.Get("Content-Length") != fmt.Sprint(len(text))) {
			t.Errorf("length %d and %s of %d bytes", get.ContentLength, head.Header.Get("Content-Length"), len(text))
		}
	}
	never := &routinghttp.Options{HitAge: -1, MissAge: -1}
	for _, f := range []ipni.Finder{finder{}, finder{results: sample(t)}} {
		if res := ask(f, never, "GET", path(t)); res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("headers %v", res.Header)
		}
	}
}

type answered struct {
	Providers []struct {
		ID        string
		Addrs     []string
		Protocols []string
	}
}

// TestMerge: a peer has one record, with all addresses and protocols, however its results come.
func TestMerge(t *testing.T) {
	p := peer.AddrInfo{ID: ipnitest.ID(1), Addrs: testAddrs(t, "/ip4/192.0.2.1/tcp/1")}
	other := peer.AddrInfo{ID: p.ID, Addrs: testAddrs(t, "/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.2/tcp/1")}
	deal := ad.Protocol{Code: ad.GraphsyncFilecoin, Payload: []byte{0xa1, 0x61, 'V', 0xf4}}
	results := []ipni.Result{
		{Provider: p, Metadata: testMetadata(t, graphsync)}, {Provider: other, Metadata: testMetadata(t, deal)},
		{Provider: p, Metadata: append(testMetadata(t, bitswap), 0xff)}, {Provider: p, Metadata: testMetadata(t, bitswap, gateway)},
	}
	want := `{"Schema":"peer","ID":"` + p.ID.String() + `","Addrs":["/ip4/192.0.2.1/tcp/1","/ip4/192.0.2.2/tcp/1"],` +
		`"Protocols":["transport-graphsync-filecoinv1","transport-bitswap","transport-ipfs-gateway-http"],` +
		`"transport-graphsync-filecoinv1":"kBKhYVb1","transport-bitswap":"gBI=","transport-ipfs-gateway-http":"oBIA"}`
	if got := body(t, ask(finder{results: results}, nil, "GET", path(t))); got != `{"Providers":[`+want+`]}` {
		t.Error(got)
	}
	if got := body(t, ask(finder{results: results}, nil, "GET", path(t), asLines)); got != want+"\n" {
		t.Error(got)
	}
}

// TestTexts: what a publisher says is JSON, whatever it says.
func TestTexts(t *testing.T) {
	c, err := multiaddr.NewComponent("dns", "\"\\\x01<é\xff>&")
	if err != nil {
		t.Fatal(err)
	}
	res := ipni.Result{Provider: peer.AddrInfo{ID: ipnitest.ID(1), Addrs: []multiaddr.Multiaddr{c.Multiaddr()}}}
	text := body(t, ask(finder{results: []ipni.Result{res}}, nil, "GET", path(t)))
	var got answered
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if want := "/dns/\"\\\x01<é\uFFFD>&"; len(got.Providers) != 1 || got.Providers[0].Addrs[0] != want {
		t.Errorf("%q, want %q", got.Providers, want)
	}
}

func many(t testing.TB, n int) (results []ipni.Result) {
	for i := range n {
		id := ipnitest.ID(byte(i))
		results = append(results, ipni.Result{Provider: peer.AddrInfo{ID: id[:len(id)-1] + peer.ID([]byte{byte(i >> 8)})}, Metadata: testMetadata(t, bitswap)})
	}
	return results
}

// Time stands still while an answer is made: lines would be sent before the error if it took long.
func TestLimits(t *testing.T) { synctest.Test(t, testLimits) }

func testLimits(t *testing.T) {
	f := finder{results: many(t, 150)}
	for _, tt := range []struct {
		accept string
		o      *routinghttp.Options
		want   int // records
		status int
	}{
		{asJSON, nil, 100, 200}, {asLines, nil, 150, 200}, {asJSON, &routinghttp.Options{Records: 7}, 7, 200},
		{asJSON, &routinghttp.Options{Results: 150, Records: 200}, 150, 200},
		{asJSON, &routinghttp.Options{Results: 149, Records: 200}, 0, 502},
		{asLines, &routinghttp.Options{Results: 149}, 0, 502},
	} {
		res := ask(f, tt.o, "GET", path(t), tt.accept)
		if got := strings.Count(body(t, res), `"Schema":"peer"`); got != tt.want || res.StatusCode != tt.status {
			t.Errorf("%s, %+v: status %d, %d records, want %d", tt.accept, tt.o, res.StatusCode, got, tt.want)
		}
	}
	// The filter comes before the limit, and what is beyond it is not looked for.
	results := append(many(t, 120), sample(t)...)
	res := ask(finder{results, errors.New("too far")}, &routinghttp.Options{Records: 1}, "GET", path(t)+"?filter-protocols=transport-graphsync-filecoinv1")
	if text := body(t, res); res.StatusCode != 200 || strings.Count(text, `"ID"`) != 1 || !strings.Contains(text, "graphsync") {
		t.Errorf("status %d: %s", res.StatusCode, text)
	}
}

// TestLimitOfUnknown: a peer whose protocols become known does not count among those without.
func TestLimitOfUnknown(t *testing.T) {
	in := many(t, 3)
	a, b, c := in[0], in[1], in[2]
	a.Metadata, b.Metadata, c.Metadata = nil, nil, nil
	f := finder{results: []ipni.Result{a, in[0], b, c, in[1]}}
	res := ask(f, &routinghttp.Options{Records: 2}, "GET", path(t)+"?filter-protocols=unknown")
	var got answered
	if err := json.Unmarshal([]byte(body(t, res)), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Providers) != 2 || got.Providers[0].ID != b.Provider.ID.String() || got.Providers[1].ID != c.Provider.ID.String() {
		t.Errorf("%+v", got)
	}
}

func BenchmarkLookup(b *testing.B) {
	h := routinghttp.NewHandler(finder{results: sample(b)}, nil)
	for _, accept := range []string{asJSON, asLines} {
		b.Run(accept, func(b *testing.B) {
			r := httptest.NewRequest("GET", path(b), nil)
			r.Header.Set("Accept", accept)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
