package node_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/hashstream/hashstream/ingest"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
)

// metric returns the sum of the series that begin with name, 0 if there is none.
func (n *running) metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	a := do(t, n.http1, "GET", n.admin+"/metrics")
	if a.status != 200 {
		t.Fatalf("metrics: status %d, %v", a.status, a.err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(a.body)); lines.Scan(); {
		series, value, _ := strings.Cut(lines.Text(), " ")
		if text, ok := strings.CutPrefix(series, name); ok && (text == "" || text[0] == '{' || strings.HasSuffix(name, "}")) {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += v
		}
	}
	return sum
}

func TestAdmin(t *testing.T) {
	n := start(t, nil)
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/debug/pprof/goroutine?debug=1": "goroutine profile:", "/": "Hashstream admin"} {
		if a := do(t, n.http1, "GET", n.admin+path); a.status != 200 || !strings.HasPrefix(string(a.body), want) {
			t.Errorf("%s: status %d, %.40q", path, a.status, a.body)
		}
	}
	var s control.Status
	if err := json.Unmarshal(do(t, n.http1, "GET", n.admin+"/status").body, &s); err != nil || s.PID != os.Getpid() || s.Addresses["gateway"] != n.url || s.Home != n.config.Home {
		t.Errorf("status %+v, %v", s, err)
	}
	if a := do(t, n.http1, "GET", n.url+"/metrics"); a.status != 404 {
		t.Errorf("metrics on the public listener: status %d", a.status)
	}
	if a := do(t, n.http1, "GET", n.admin+"/ipfs/bafkqaaa?format=raw"); a.status != 404 {
		t.Errorf("content on the admin listener: status %d", a.status)
	}
}

// TestMetrics compares what is counted with what was done.
func TestMetrics(t *testing.T) {
	n := start(t, nil)
	root := addFile(t, n.config, 1, 300_000, ingest.Options{}).String()
	first := n.get(t, "/ipfs/"+root+"?format=car")
	for range 2 {
		n.get(t, "/ipfs/"+root+"?format=car")
	}
	raw := n.get(t, "/ipfs/"+root+"?format=raw")
	n.get(t, "/ipfs/bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e?format=raw")
	for series, want := range map[string]float64{
		`hashstream_http_requests_total{format="car",method="GET",status="200"}`: 3,
		`hashstream_http_requests_total{format="raw",method="GET",status="200"}`: 1,
		`hashstream_http_requests_total{format="raw",method="GET",status="404"}`: 1,
		`hashstream_verified_blocks_total`:                                       6, // once, not three times
		`hashstream_verify_failed_blocks_total`:                                  0,
		`hashstream_cache_lookups_total{cache="plan",result="hit"}`:              3,
		`hashstream_stream_failures_total`:                                       0,
		`hashstream_plan_seconds_count{encoding="car"}`:                          3,
		`hashstream_plan_seconds_count{encoding="raw"}`:                          2,
		`hashstream_build_info{version="test"}`:                                  1,
		`hashstream_quarantined_blocks`:                                          0,
	} {
		if got := n.metric(t, series); got != want {
			t.Errorf("%s is %v, want %v", series, got, want)
		}
	}
	if got, least := n.metric(t, "hashstream_http_response_bytes_total"), float64(3*len(first.body)+len(raw.body)); got < least || got > least+1000 {
		t.Errorf("%v bytes counted, %v sent", got, least)
	}
	for _, series := range []string{`hashstream_kv_seconds_count{op="get",store="index"}`, `hashstream_kv_seconds_count{op="scan",store="index"}`, `hashstream_blob_seconds_count{op="get",store="packs"}`, `hashstream_http_request_seconds_count`} {
		if n.metric(t, series) < 1 {
			t.Errorf("%s is not counted", series)
		}
	}
}

// TestLog reads the lines of a request that succeeds.
func TestLog(t *testing.T) {
	n := start(t, nil)
	a := n.get(t, "/ipfs/bafkqaaa?format=raw", "X-Request-Id", "the-client-s-own")
	if a.header.Get("X-Request-Id") != "the-client-s-own" {
		t.Errorf("request id %q", a.header.Get("X-Request-Id"))
	}
	other := n.get(t, "/ipfs/bafkqaaa?format=car").header.Get("X-Request-Id")
	seen := map[string]bool{}
	eventually(t, "both requests are logged", func() bool {
		for lines := bufio.NewScanner(strings.NewReader(n.log.String())); lines.Scan(); {
			var line struct {
				Msg       string `json:"msg"`
				RequestID string `json:"request_id"`
				Status    int    `json:"status"`
				URI       string `json:"uri"`
			}
			if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
				t.Fatalf("%v: %s", err, lines.Bytes())
			}
			if line.Msg == "request" && line.Status == 200 && strings.HasPrefix(line.URI, "/ipfs/bafkqaaa") {
				seen[line.RequestID] = true
			}
		}
		return seen["the-client-s-own"] && seen[other]
	})
}

// TestTraces receives spans as a collector does.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	attributes := map[string]string{}
	spans, services := 0, map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range req.ResourceSpans {
			for _, a := range resource.Resource.Attributes {
				services[a.Value.GetStringValue()] = true
			}
			for _, scope := range resource.ScopeSpans {
				for _, span := range scope.Spans {
					spans++
					for _, a := range span.Attributes {
						attributes[a.Key] = a.Value.String()
					}
				}
			}
		}
	}))
	defer srv.Close()
	n := start(t, func(c *config.Config) { c.Trace.Endpoint = srv.URL })
	id := n.get(t, "/ipfs/bafkqaaa?format=raw").header.Get("X-Request-Id")
	if err := n.stop(); err != nil { // sends what is left
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	if spans != 1 || !services["hashstream"] || !strings.Contains(attributes["http.response.status_code"], "200") ||
		!strings.Contains(attributes["hashstream.request_id"], id) || !strings.Contains(attributes["url.path"], "/ipfs/bafkqaaa") {
		t.Errorf("%d spans of %v: %v", spans, services, attributes)
	}
}
