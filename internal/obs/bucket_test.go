package obs

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestBucketRequests counts the requests of two responses, one of which is aborted.
func TestBucketRequests(t *testing.T) {
	m := NewMetrics("v1")
	h := Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.BucketRequest(r.Context(), "get", 206, false, 0, 1000, time.Second)
		if r.URL.Path == "/two" {
			m.BucketRequest(r.Context(), "get", 503, false, 0, 10, time.Second)
			m.BucketRequest(r.Context(), "get", 206, true, 0, 1000, time.Second)
			panic(http.ErrAbortHandler)
		}
	}), &HandlerOptions{BucketRequests: m.BucketRequests})
	for _, path := range []string{"/one", "/two"} {
		func() {
			defer func() { recover() }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil))
		}()
	}
	wantSeries(t, m, `^bucket_(requests|retries|bytes)`,
		`bucket_bytes_total{direction="received"} 3010`, `bucket_bytes_total{direction="sent"} 0`,
		`bucket_requests_total{op="get",status="206"} 3`, `bucket_requests_total{op="get",status="503"} 1`, `bucket_retries_total 1`)
	wantSeries(t, m, `^http_bucket_requests_(count|sum)|^http_bucket_requests_bucket{le="1"}`,
		`http_bucket_requests_bucket{le="1"} 1`, `http_bucket_requests_sum 4`, `http_bucket_requests_count 2`)
}
