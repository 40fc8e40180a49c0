package obs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func Example() {
	m := NewMetrics("v1")
	m.RequestStarted() // hooks of the gateway
	m.RequestDone("GET", "car", http.StatusOK, 1<<20, 20*time.Millisecond)

	admin := Admin(&AdminOptions{Metrics: m})
	w := httptest.NewRecorder()
	admin.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "hashstream_http_requests_total") {
			fmt.Print(line)
		}
	}
	// Output: hashstream_http_requests_total{format="car",method="GET",status="200"} 1
}

func logger(t testing.TB, w io.Writer) *slog.Logger {
	t.Helper()
	log, err := NewLogger(w, "info", "json")
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	log := logger(t, &out).With("a", 1)
	log.DebugContext(t.Context(), "quiet")
	log.InfoContext(WithRequestID(t.Context(), "id"), "line\nbreak")
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatalf("%v: %s", err, &out)
	}
	delete(got, "time")
	if diff := cmp.Diff(map[string]any{"level": "INFO", "msg": "line\nbreak", "a": 1.0, "request_id": "id"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := NewLogger(&out, "loud", "json"); err == nil {
		t.Error("level loud is accepted")
	}
	if _, err := NewLogger(&out, "info", "xml"); err == nil {
		t.Error("format xml is accepted")
	}
}

func TestRequestID(t *testing.T) {
	for sent, keep := range map[string]bool{"abc-DEF_1.2": true, "": false, "a b": false, "a\"b": false, "é": false, "a\nb": false, "@": false, "[": false,
		strings.Repeat("x", maxRequestID): true, strings.Repeat("x", maxRequestID+1): false} {
		var inside string
		h := Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { inside = RequestID(r.Context()) }), nil)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["X-Request-Id"] = []string{sent}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-Id"); got != inside || got == "" || (got == sent) != keep {
			t.Errorf("%q: the header says %q, the context %q", sent, got, inside)
		}
	}
}

func TestAccessLog(t *testing.T) {
	var out bytes.Buffer
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
		if r.URL.Path == "/abort" {
			panic(http.ErrAbortHandler)
		}
	}), &HandlerOptions{Access: logger(t, &out)})
	for path, aborted := range map[string]any{"/ok?x=1": nil, "/abort": true} {
		out.Reset()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("X-Request-Id", "id")
		r.Header.Set("User-Agent", strings.Repeat("u", 10_000))
		func() {
			defer func() {
				if p := recover(); (p == http.ErrAbortHandler) != (aborted == true) {
					t.Errorf("the abort did not pass: %v", p)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), r)
		}()
		var got map[string]any
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v: %s", err, &out)
		}
		want := map[string]any{"level": "INFO", "msg": "request", "method": "GET", "uri": path, "status": 418.0, "bytes": 15.0, "client": "192.0.2.1",
			"proto": "HTTP/1.1", "request_id": "id", "user_agent": strings.Repeat("u", maxLogged)}
		if aborted != nil {
			want["aborted"] = aborted
		}
		delete(got, "time")
		delete(got, "duration")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// readerFrom is a server's writer that can send files.
type readerFrom struct {
	http.ResponseWriter
	src io.Reader
}

func (r *readerFrom) ReadFrom(src io.Reader) (int64, error) {
	r.src = src
	return io.Copy(r.ResponseWriter, src)
}

// TestReadFromSurvives: with traces and access log on, the server's ReadFrom gets
// the very reader, and a writer without one does not seem to have it.
func TestReadFromSurvives(t *testing.T) {
	tracer, _ := newCollector(t)
	for name, o := range map[string]*HandlerOptions{"nothing": nil, "access": {Access: slog.New(slog.DiscardHandler)}, "trace": {Tracer: tracer}} {
		src := &io.LimitedReader{R: strings.NewReader("content"), N: 3}
		h := Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			rf, ok := w.(io.ReaderFrom)
			if !ok {
				_, _ = io.WriteString(w, "no ReadFrom")
				return
			}
			if n, err := rf.ReadFrom(src); n != 3 || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}), o)
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		w := httptest.NewRecorder()
		server := &readerFrom{ResponseWriter: w}
		h.ServeHTTP(server, r)
		if server.src != src || w.Body.String() != "con" {
			t.Errorf("%s: the server's ReadFrom got %v, the client %q", name, server.src, w.Body)
		}
		w = httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Body.String() != "no ReadFrom" {
			t.Errorf("%s: a ReadFrom was invented", name)
		}
	}
}

// TestRealServers: the recorder works under both protocols of net/http.
func TestRealServers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, h2 := range []bool{false, true} {
		var out bytes.Buffer
		server := httptest.NewUnstartedServer(Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, ok := w.(io.ReaderFrom); ok == h2 {
				t.Errorf("%s has ReadFrom: %t", r.Proto, ok)
			}
			if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Errorf("%s: the controller does not reach the server: %v", r.Proto, err)
			}
			w.WriteHeader(http.StatusEarlyHints) // not the status of the response
			w.WriteHeader(http.StatusAccepted)
			f, err := os.Open(file)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			_, _ = io.Copy(w, f)
			w.(http.Flusher).Flush()
		}), &HandlerOptions{Access: logger(t, &out)}))
		server.EnableHTTP2 = h2
		server.StartTLS()
		resp, err := server.Client().Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		server.Close() // waits for the handler
		if n != 1<<20 || err != nil || !strings.Contains(out.String(), `"status":202,"bytes":1048576`) {
			t.Errorf("http2 %t: %d bytes, %v, log %s", h2, n, err, &out)
		}
	}
}

// newCollector returns a tracer and what its collector receives.
func newCollector(t *testing.T) (*Tracer, <-chan *tracepb.Span) {
	t.Helper()
	spans := make(chan *tracepb.Span, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req collector.ExportTraceServiceRequest
		data, err := io.ReadAll(r.Body)
		if err := errors.Join(err, proto.Unmarshal(data, &req)); err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL, err)
		}
		for _, rs := range req.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				for _, span := range ss.Spans {
					spans <- span
				}
			}
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	tracer, err := NewTracer(t.Context(), TracerOptions{Endpoint: server.URL, SampleRatio: 1, Version: "v"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tracer.Shutdown(context.Background()) })
	return tracer, spans
}

func TestTrace(t *testing.T) {
	tracer, spans := newCollector(t)
	var out bytes.Buffer
	log := logger(t, &out)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ipfs/{cid}", func(w http.ResponseWriter, r *http.Request) {
		ctx, end := tracer.Start(r.Context(), "plan")
		log.InfoContext(ctx, "inside")
		end(fmt.Errorf("no plan"))
		w.WriteHeader(http.StatusBadGateway)
	})
	h := Handler(mux, &HandlerOptions{Tracer: tracer})
	const parent = "4bf92f3577b34da6a3ce929d0e0e4736"
	r := httptest.NewRequest(http.MethodGet, "/ipfs/bafy", nil)
	r.Header.Set("Traceparent", "00-"+parent+"-00f067aa0ba902b7-01")
	h.ServeHTTP(httptest.NewRecorder(), r)
	if err := tracer.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	inner, outer := <-spans, <-spans
	type summary struct{ Name, Trace, Status string }
	sum := func(s *tracepb.Span) summary {
		return summary{s.Name, fmt.Sprintf("%x", s.TraceId), s.Status.GetCode().String()}
	}
	if diff := cmp.Diff([]summary{{"plan", parent, "STATUS_CODE_ERROR"}, {"GET /ipfs/{cid}", parent, "STATUS_CODE_ERROR"}}, []summary{sum(inner), sum(outer)}); diff != "" {
		t.Error(diff)
	}
	if !bytes.Equal(inner.ParentSpanId, outer.SpanId) || fmt.Sprintf("%x", outer.ParentSpanId) != "00f067aa0ba902b7" {
		t.Errorf("parents %x and %x", inner.ParentSpanId, outer.ParentSpanId)
	}
	attrs := map[string]string{}
	for _, a := range outer.Attributes {
		attrs[a.Key] = a.Value.GetStringValue() + fmt.Sprint(a.Value.GetIntValue())
	}
	if attrs["http.response.status_code"] != "502" || attrs["url.path"] != "/ipfs/bafy0" {
		t.Errorf("attributes %v", attrs)
	}
	if !strings.Contains(out.String(), `"trace_id":"`+parent) {
		t.Errorf("the log does not name the trace: %s", &out)
	}
}

// TestNoTrace: without an endpoint everything still works and sends nothing.
func TestNoTrace(t *testing.T) {
	tracer, err := NewTracer(t.Context(), TracerOptions{})
	if tracer != nil || err != nil {
		t.Fatalf("%v, %v", tracer, err)
	}
	ctx, end := tracer.Start(t.Context(), "x")
	end(nil)
	if err := tracer.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	h := Handler(http.NotFoundHandler(), &HandlerOptions{Tracer: tracer, Access: slog.New(slog.DiscardHandler)})
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
}

// TestCollectorDown: failures reach the logger once, and nothing waits for them.
func TestCollectorDown(t *testing.T) {
	var out bytes.Buffer
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer server.Close()
	tracer, err := NewTracer(t.Context(), TracerOptions{Endpoint: server.URL, SampleRatio: 1, Logger: logger(t, &out)})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, end := tracer.Start(t.Context(), "x")
		end(nil)
		if err := tracer.provider.ForceFlush(t.Context()); err != nil {
			t.Error(err)
		}
	}
	_ = tracer.Shutdown(t.Context())
	if n := strings.Count(out.String(), "traces cannot be delivered"); n != 1 {
		t.Errorf("logged %d times: %s", n, &out)
	}
}

func BenchmarkHandler(b *testing.B) {
	h := Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), &HandlerOptions{Access: slog.New(slog.DiscardHandler)})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
