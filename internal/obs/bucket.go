package obs

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// bucket are the metrics of requests to buckets, which cost money.
type bucket struct {
	requests    *prometheus.CounterVec
	retries     prometheus.Counter
	seconds     *prometheus.HistogramVec
	bytes       *prometheus.CounterVec
	perResponse prometheus.Histogram
}

func newBucket(f factory) bucket {
	perResponse := prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: namespace, Name: "http_bucket_requests", Help: "Requests to buckets for one response.",
		Buckets: []float64{0, 1, 2, 4, 8, 16, 32, 64, 256, 1024},
	})
	f.r.MustRegister(perResponse)
	return bucket{
		requests:    f.counters("bucket_requests_total", "Requests to buckets; status 0 is no answer.", "op", "status"),
		retries:     f.counter("bucket_retries_total", "Requests to buckets that follow a failure of the same call."),
		seconds:     f.histograms("bucket_request_seconds", "Time until the header of a bucket's answer.", 100e-6, "op"),
		bytes:       f.counters("bucket_bytes_total", "Bytes of the bodies of requests to buckets and of their answers.", "direction"),
		perResponse: perResponse,
	}
}

// BucketRequest counts one HTTP request to a bucket: what for, the status of the answer or
// 0, whether it repeats another, its bytes, and the time until the answer began.
func (m *Metrics) BucketRequest(ctx context.Context, op string, status int, retry bool, sent, received int64, wait time.Duration) {
	m.bucket.requests.WithLabelValues(op, strconv.Itoa(status)).Inc()
	m.bucket.seconds.WithLabelValues(op).Observe(wait.Seconds())
	m.bucket.bytes.WithLabelValues("sent").Add(float64(sent))
	m.bucket.bytes.WithLabelValues("received").Add(float64(received))
	if retry {
		m.bucket.retries.Inc()
	}
	if n, ok := ctx.Value(bucketKey{}).(*atomic.Int64); ok {
		n.Add(1)
	}
}

// BucketRequests notes how many requests to buckets a response needed.
func (m *Metrics) BucketRequests(n int64) { m.bucket.perResponse.Observe(float64(n)) }

// bucketKey is of the counter of requests that a response needs.
type bucketKey struct{}

func withBucketCount(ctx context.Context) (context.Context, *atomic.Int64) {
	n := new(atomic.Int64)
	return context.WithValue(ctx, bucketKey{}, n), n
}
