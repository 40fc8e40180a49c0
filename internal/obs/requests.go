package obs

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// The values of the labels of requests. What is not listed counts as the last.
var (
	methods = [...]string{"GET", "HEAD", "OPTIONS", "other"}
	formats = [...]string{"raw", "car", "ipns-record", "none", "other"}
)

// requests are the metrics of the public listener. Series come into being with
// their first request and are found by array index after that.
type requests struct {
	total    *prometheus.CounterVec
	series   [len(methods)][len(formats)][600]atomic.Pointer[prometheus.Counter]
	seconds  [len(formats)]prometheus.Observer
	bytes    [len(formats)]prometheus.Counter
	inFlight prometheus.Gauge
	rejected *prometheus.CounterVec
}

func newRequests(f factory) *requests {
	r := &requests{
		total:    f.counters("http_requests_total", "Requests that were answered.", "method", "format", "status"),
		inFlight: f.gauge("http_requests_in_flight", "Requests that are being answered."),
		rejected: f.counters("http_rejected_total", "Requests that a limit refused.", "limit"),
	}
	seconds := f.histograms("http_request_seconds", "Time from a request's headers to its response's end.", 100e-6, "format")
	bytes := f.counters("http_response_bytes_total", "Bytes of response bodies.", "format")
	for i, format := range formats {
		r.seconds[i], r.bytes[i] = seconds.WithLabelValues(format), bytes.WithLabelValues(format)
	}
	return r
}

// RequestStarted counts a request that is being answered, until RequestDone.
func (m *Metrics) RequestStarted() { m.requests.inFlight.Inc() }

// RequestDone counts a request that was answered, and ends what RequestStarted
// began. format is "raw", "car" or "ipns-record", or empty if none was settled;
// bytes are the body's.
func (m *Metrics) RequestDone(method, format string, status int, bytes int64, d time.Duration) {
	r := m.requests
	r.inFlight.Dec()
	if format == "" {
		format = "none"
	}
	f := position(formats[:], format)
	r.counter(position(methods[:], method), f, status).Inc()
	r.seconds[f].Observe(d.Seconds())
	r.bytes[f].Add(float64(max(bytes, 0)))
}

// Rejected counts a request that a limit refused: "concurrency" or "rate".
func (m *Metrics) Rejected(limit string) { m.requests.rejected.WithLabelValues(limit).Inc() }

func (r *requests) counter(method, format, status int) prometheus.Counter {
	if status < 0 || status >= len(r.series[0][0]) {
		status = 0
	}
	slot := &r.series[method][format][status]
	if c := slot.Load(); c != nil {
		return *c
	}
	c := r.total.WithLabelValues(methods[method], formats[format], strconv.Itoa(status))
	slot.Store(&c) // two may come here at once, with the same counter
	return c
}

// position returns where s stands in list, or the last place.
func position(list []string, s string) int {
	for i, item := range list {
		if item == s {
			return i
		}
	}
	return len(list) - 1
}
