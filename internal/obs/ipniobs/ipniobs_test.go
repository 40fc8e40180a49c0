package ipniobs

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/internal/obs"
	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/breaker"
	"github.com/hashstream/hashstream/ipni/coverage"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ingest/state"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/routinghttp"
)

var errBroken = errors.New("it is broken")

// scrape returns the series of m whose line matches pattern.
func scrape(t testing.TB, m *obs.Metrics, pattern string) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	var out []string
	for line := range strings.Lines(w.Body.String()) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "hashstream_")
		if regexp.MustCompile(pattern).MatchString(line) && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

func wantSeries(t testing.TB, m *obs.Metrics, pattern string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, scrape(t, m, pattern)); diff != "" {
		t.Errorf("%s:\n%s", pattern, diff)
	}
}

func TestIngestTrace(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	var calls []string
	trace := x.Trace(ingest.Trace{
		Head:   func(peer.ID, cid.Cid, error) { calls = append(calls, "head") },
		Ad:     func(ingest.AdEvent) { calls = append(calls, "ad") },
		Failed: func(peer.ID, error) { calls = append(calls, "failed") },
		Paused: func(error) { calls = append(calls, "paused") },
	})
	for _, hooks := range []ingest.Trace{trace, x.Trace(ingest.Trace{})} {
		hooks.Head("a", cid.Undef, nil)
		hooks.Head("a", cid.Undef, errBroken)
		hooks.Ad(ingest.AdEvent{Publisher: "a", Status: state.Indexed, Multihashes: 100, Took: time.Second, Lag: 7})
		hooks.Ad(ingest.AdEvent{Publisher: "b", Status: state.Skipped, Lag: 3})
		hooks.Ad(ingest.AdEvent{Publisher: "b", Status: state.Resyncing})
		hooks.Failed("a", errBroken)
		hooks.Paused(errBroken)
	}
	if diff := cmp.Diff([]string{"head", "head", "ad", "ad", "ad", "failed", "paused"}, calls); diff != "" {
		t.Error(diff)
	}
	wantSeries(t, m, "^ipni_(ads|heads|ingested|ad_seconds_(sum|count)|pauses|publisher|lag)",
		`ipni_ad_seconds_sum 2`, `ipni_ad_seconds_count 6`,
		`ipni_ads_total{status="indexed"} 2`, `ipni_ads_total{status="other"} 2`, `ipni_ads_total{status="pending"} 0`, `ipni_ads_total{status="skipped"} 2`,
		`ipni_heads_total{outcome="error"} 2`, `ipni_heads_total{outcome="ok"} 2`,
		`ipni_ingested_multihashes_total 200`, `ipni_lag_ads 7`, `ipni_pauses_total 2`,
		`ipni_publisher_failures_total 2`, `ipni_publisher_lag_ads{publisher="`+peer.ID("a").String()+`"} 7`, `ipni_publishers_behind 1`)
}

// TestLagBounds: anybody can publish, and must not make series without end.
func TestLagBounds(t *testing.T) {
	m := obs.NewMetrics("")
	hooks := New(m.Registry()).Trace(ingest.Trace{})
	for i := range knownLags + 10 {
		hooks.Ad(ingest.AdEvent{Publisher: peer.ID(fmt.Sprint(i)), Lag: uint64(i + 1)})
	}
	wantSeries(t, m, "^ipni_publishers_behind", fmt.Sprintf("ipni_publishers_behind %d", knownLags))
	got := scrape(t, m, "^ipni_publisher_lag_ads")
	worst := fmt.Sprintf(`ipni_publisher_lag_ads{publisher="%s"} %d`, peer.ID(fmt.Sprint(knownLags-1)), knownLags)
	if len(got) != shownLags || !slices.Contains(got, worst) {
		t.Errorf("%d series, with the worst: %t", len(got), slices.Contains(got, worst))
	}
}

// Whoever is followed elsewhere is not behind here, where nothing is heard of it any more.
func TestLagElsewhere(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	hooks := x.Trace(ingest.Trace{})
	for _, id := range []peer.ID{"a", "b"} {
		hooks.Ad(ingest.AdEvent{Publisher: id, Lag: 5})
	}
	x.Follows(func(id peer.ID) bool { return id == "b" })
	wantSeries(t, m, "^ipni_lag_ads", "ipni_lag_ads 5")
	wantSeries(t, m, "^ipni_publisher_lag_ads", `ipni_publisher_lag_ads{publisher="`+peer.ID("b").String()+`"} 5`)
}

func TestLookups(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	r := httptest.NewRequest(http.MethodGet, "/cid/x", nil)
	gone, cancel := context.WithCancel(r.Context())
	cancel()
	x.Lookup(r, ipnihttp.Done{Route: "cid", Status: 200, Results: 3, First: 2 * time.Second, Elapsed: 3 * time.Second})
	x.Lookup(r, ipnihttp.Done{Route: "cid", Status: 404, Elapsed: time.Second})
	x.Lookup(r, ipnihttp.Done{Route: "cid", Status: 502, Err: errBroken})
	x.Lookup(r, ipnihttp.Done{Route: "cid", Status: 200, Results: 1, First: time.Second, Err: errBroken}) // its end is missing
	x.Lookup(r.WithContext(gone), ipnihttp.Done{Route: "cid", Status: 200, Results: 1, Err: context.Canceled})
	x.Lookup(r, ipnihttp.Done{Route: "multihash", Status: 400})
	x.Lookup(r, ipnihttp.Done{Route: "stats", Status: 304})
	x.Lookup(r, ipnihttp.Done{Route: "made/up", Status: 404})
	x.Routing(r, routinghttp.Done{Status: 200, Records: 0})
	x.Routing(r, routinghttp.Done{Status: 200, Records: 2, First: time.Second, Elapsed: time.Second})
	wantSeries(t, m, "^ipni_lookup_seconds_count.* [1-9]",
		`ipni_lookup_seconds_count{outcome="cut",route="cid"} 1`, `ipni_lookup_seconds_count{outcome="error",route="cid"} 2`,
		`ipni_lookup_seconds_count{outcome="hit",route="cid"} 1`, `ipni_lookup_seconds_count{outcome="hit",route="routing"} 1`,
		`ipni_lookup_seconds_count{outcome="hit",route="stats"} 1`,
		`ipni_lookup_seconds_count{outcome="miss",route="cid"} 1`, `ipni_lookup_seconds_count{outcome="miss",route="other"} 1`,
		`ipni_lookup_seconds_count{outcome="miss",route="routing"} 1`, `ipni_lookup_seconds_count{outcome="refused",route="multihash"} 1`)
	wantSeries(t, m, `^ipni_(first_result_seconds_(sum|count)|lookup_results_total).*"(cid|routing)"`,
		`ipni_first_result_seconds_sum{route="cid"} 3`, `ipni_first_result_seconds_count{route="cid"} 2`,
		`ipni_first_result_seconds_sum{route="routing"} 1`, `ipni_first_result_seconds_count{route="routing"} 1`,
		`ipni_lookup_results_total{route="cid"} 5`, `ipni_lookup_results_total{route="routing"} 2`)
}

func TestLookupsAllocateNothing(t *testing.T) {
	x := New(obs.NewMetrics("").Registry())
	r := httptest.NewRequest(http.MethodGet, "/cid/x", nil)
	d := ipnihttp.Done{Route: "encrypted/multihash", Status: 200, Results: 3, First: time.Millisecond, Elapsed: time.Millisecond}
	if n := testing.AllocsPerRun(100, func() { x.Lookup(r, d) }); n != 0 {
		t.Errorf("%v allocations a lookup", n)
	}
}

func TestWritten(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	x.Written(nil, storehttp.Done{Route: "multihash", Binary: true, Status: 202, Bytes: 1000, Elapsed: time.Second})
	x.Written(nil, storehttp.Done{Route: "multihash", Status: 400, Bytes: -1})
	x.Written(nil, storehttp.Done{Route: "made/up", Status: 7})
	wantSeries(t, m, "^ipni_write(s|_bytes|_seconds_count)",
		`ipni_write_bytes_total{format="binary"} 1000`, `ipni_write_bytes_total{format="json"} 0`,
		`ipni_write_seconds_count{format="binary",route="multihash"} 1`, `ipni_write_seconds_count{format="json",route="multihash"} 1`,
		`ipni_write_seconds_count{format="json",route="other"} 1`,
		`ipni_writes_total{format="binary",route="multihash",status="2xx"} 1`, `ipni_writes_total{format="json",route="multihash",status="4xx"} 1`,
		`ipni_writes_total{format="json",route="other",status="other"} 1`)
}

// fakeSink answers every call with the same.
type fakeSink struct{ err error }

func (f fakeSink) Put(context.Context, ipni.Group, ipni.Multihashes) error { return f.err }
func (f fakeSink) Remove(context.Context, ipni.Context, uint64) error      { return f.err }
func (f fakeSink) PutMetadata(context.Context, ipni.Context, []byte) error { return f.err }

type fakeRemover struct{ fakeSink }

func (f fakeRemover) RemoveSealed(context.Context, ipni.ProviderTag, *dhash.MetadataKey, uint64) error {
	return f.err
}

func TestSink(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	if _, ok := x.Sink(fakeSink{}).(remover); ok {
		t.Error("a sink became one that can remove providers")
	}
	for _, err := range []error{nil, errBroken} {
		s := x.Sink(fakeRemover{fakeSink{err}})
		for _, got := range []error{
			s.Put(t.Context(), ipni.Group{}, make(ipni.Multihashes, 34)), s.Remove(t.Context(), ipni.Context{}, 1),
			s.PutMetadata(t.Context(), ipni.Context{}, nil), s.(remover).RemoveSealed(t.Context(), ipni.ProviderTag{}, nil, 1),
		} {
			if !errors.Is(got, err) {
				t.Errorf("%v, want %v", got, err)
			}
		}
	}
	wantSeries(t, m, "^ipni_put_(errors|bytes|seconds_count)",
		`ipni_put_bytes_total 34`,
		`ipni_put_errors_total{op="metadata"} 1`, `ipni_put_errors_total{op="put"} 1`, `ipni_put_errors_total{op="remove"} 2`,
		`ipni_put_seconds_count{op="metadata"} 2`, `ipni_put_seconds_count{op="put"} 2`, `ipni_put_seconds_count{op="remove"} 4`)
}

func TestCoverage(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	series := func(all string) (lines []string) {
		for one := range strings.FieldsSeq(all) {
			measure, value, _ := strings.Cut(one, "=")
			lines = append(lines, fmt.Sprintf("ipni_coverage{against=%q,measure=%q} %s", "https://a", measure, value))
		}
		return lines
	}
	x.Providers("https://a", coverage.Providers{}, errors.New("no answer"))
	wantSeries(t, m, "^ipni_coverage", series("providers_failed=1")...)
	x.Providers("https://a", coverage.Providers{Coverage: 0.5, Ads: 12, MaxAds: 7, Behind: 3, Unclear: 4}, nil)
	of := coverage.Reads{Asked: 4, Failed: 1, Coverage: 0.25, Reverse: 1, ResultCoverage: 0.125, NotFoundOurs: 0.75, NotFoundTheirs: 0.5}
	x.Reads("https://a", of)
	of.Coverage = 0.5
	x.Reads("https://a", of)
	known := "ads_behind=12 max_ads_behind=7 not_found_ours=0.75 not_found_theirs=0.5 providers=0.5 providers_behind=3 providers_failed=0 providers_unclear=4 "
	reads := "reads=0.5 reads_asked=4 reads_failed=1 reads_reverse=1 results=0.125"
	wantSeries(t, m, "^ipni_coverage", series(known+reads)...)
	of.Coverage = 0.75
	x.SealedReads("https://a", of)
	wantSeries(t, m, "^ipni_coverage.*encrypted", series("encrypted_not_found_ours=0.75 encrypted_not_found_theirs=0.5 encrypted_reads=0.75 encrypted_reads_asked=4 "+
		"encrypted_reads_failed=1 encrypted_reads_reverse=1 encrypted_results=0.125")...)
	// Shares of nothing are not shown, nor what they once were.
	x.SealedReads("https://a", coverage.Reads{Failed: 9, Coverage: 1})
	wantSeries(t, m, "^ipni_coverage.*encrypted", series("encrypted_reads_asked=0 encrypted_reads_failed=9")...)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() { x.Providers(fmt.Sprint(i), coverage.Providers{}, nil) })
	}
	wg.Wait()
	if got := scrape(t, m, `^ipni_coverage.*"providers"`); len(got) != 9 {
		t.Errorf("%d series: %q", len(got), got)
	}
}

func TestStoreStats(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	asked := 0
	x.Store(func() StoreStats {
		asked++
		return StoreStats{1, 2, 3, 4, 5, 6}
	})
	wantSeries(t, m, "^ipni_store", `ipni_store_bytes 2`, `ipni_store_debt_bytes 4`, `ipni_store_memory_bytes 5`, `ipni_store_records 1`,
		`ipni_store_removed_groups 6`, `ipni_store_segments 3`)
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
}

func TestBreakers(t *testing.T) {
	m := obs.NewMetrics("")
	x := New(m.Registry())
	list := []Breaker{{"indexer", "a", breaker.Closed}, {"indexer", "a", breaker.Open}, {"member", "a", breaker.HalfOpen}, {"member", "b", breaker.Closed}}
	x.Breakers(func() []Breaker { return list })
	wantSeries(t, m, "^ipni_breaker", `ipni_breaker_open{kind="indexer",name="a"} 1`, `ipni_breaker_open{kind="member",name="a"} 0.5`, `ipni_breaker_open{kind="member",name="b"} 0`)
	for i := range 200 {
		list = append(list, Breaker{"member", fmt.Sprint("many ", i), breaker.Closed})
	}
	if got := scrape(t, m, "^ipni_breaker"); len(got) != shownPeers || !slices.Contains(got, `ipni_breaker_open{kind="indexer",name="a"} 1`) {
		t.Errorf("%d series", len(got))
	}
}

// A node has the metrics of its index beside its own, and gives them to the parts as hooks.
func ExampleNew() {
	m := obs.NewMetrics("v1")
	x := New(m.Registry())
	_ = ingest.Options{Trace: x.Trace(ingest.Trace{})}
	_ = ipnihttp.Options{Done: x.Lookup}
	_ = routinghttp.Options{Done: x.Routing}
	_ = storehttp.Options{Done: x.Written}
	x.Store(func() StoreStats { return StoreStats{Records: 12} })

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	fmt.Println(strings.Contains(w.Body.String(), "\nhashstream_ipni_store_records 12\n"))
	// Output: true
}
