package gateway

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// discard is a ResponseWriter that costs nothing itself.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

func (d *discard) SetWriteDeadline(time.Time) error { return nil }

func (d *discard) WriteString(s string) (int, error) { return len(s), nil }

func (d *discard) ReadFrom(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

// benchmark answers one request over and over, without a network.
func benchmark(b *testing.B, target, accept string) {
	f, c := one("data", whole(strings.Repeat("x", 4<<10)))
	h := New(f, nil)
	r := httptest.NewRequest("GET", "/ipfs/"+c+target, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := &discard{make(http.Header, 16)}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.header)
		f.asked = f.asked[:0]
		h.ServeHTTP(w, r)
	}
}

func BenchmarkRaw(b *testing.B)       { benchmark(b, "?format=raw", "") }
func BenchmarkRawAccept(b *testing.B) { benchmark(b, "", typeRaw) }
func BenchmarkCAR(b *testing.B)       { benchmark(b, "?format=car", "") }

func BenchmarkLimits(b *testing.B) {
	h := NewRateLimit(1e12, nil).Wrap(NewConcurrencyLimit(100, nil).Wrap(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	r := httptest.NewRequest("GET", "/", nil)
	w := &discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
