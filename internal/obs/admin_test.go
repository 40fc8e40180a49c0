package obs

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAdmin(t *testing.T) {
	ready := errors.New("locked")
	h := Admin(&AdminOptions{
		Metrics: NewMetrics("v"),
		Ready: []Check{
			{"packs", func(context.Context) error { return nil }},
			{"index", func(context.Context) error { return ready }},
		},
		Status:    func() any { return map[string]int{"pid": 7} },
		LocalOnly: true,
	})
	for _, tt := range []struct {
		method, url string
		status      int
		want        string
	}{
		{"GET", "http://127.0.0.1:5080/healthz", 200, "ok\n"},
		{"GET", "http://localhost/readyz", 503, "index: locked\n"},
		{"GET", "http://[::1]:5080/metrics", 200, "hashstream_build_info"},
		{"GET", "http://[::1]/status", 200, "\"pid\": 7"},
		{"GET", "http://127.0.0.1/debug/pprof/", 200, "goroutine"},
		{"GET", "http://127.0.0.1/debug/pprof/heap?debug=1", 200, "heap profile"},
		{"GET", "http://127.0.0.1/debug/pprof/cmdline", 200, "obs.test"},
		{"GET", "http://127.0.0.1/", 200, "/healthz"},
		{"GET", "http://127.0.0.1/nothing", 404, ""},
		{"POST", "http://127.0.0.1/healthz", 405, ""},
		{"GET", "http://evil.example/debug/pprof/", 403, "localhost"},
		{"GET", "http://127.0.0.1.evil.example/status", 403, "localhost"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, tt.url, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
			t.Errorf("%s %s: %d %.200s", tt.method, tt.url, w.Code, w.Body)
		}
	}
	ready = nil
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/readyz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("ready: %d %s", w.Code, w.Body)
	}
	w = httptest.NewRecorder()
	Admin(nil).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://node.example/readyz", nil))
	if w.Code != http.StatusOK {
		t.Errorf("without options: %d %s", w.Code, w.Body)
	}
}

func FuzzRequestID(f *testing.F) {
	f.Add("abc")
	f.Fuzz(func(t *testing.T, sent string) {
		got := requestID(sent)
		if got == "" || len(got) > maxRequestID || strings.ContainsFunc(got, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'<>\\", r) }) {
			t.Errorf("%q becomes %q", sent, got)
		}
	})
}
