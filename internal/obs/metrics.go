// Package obs observes a node: Prometheus metrics, structured logs with request
// ids, OpenTelemetry traces, and the handler of the admin listener. The other
// packages know nothing of it. They take an optional logger and hooks of plain
// functions, which the methods of [Metrics] fit, and meet decorators of their own
// interfaces: [Metrics.Blob], [Metrics.KV] and [Metrics.Opener].
//
// Nothing here is global: each Metrics has its own registry, each Tracer its own
// provider. Metrics follow the Prometheus text and OpenMetrics formats, traces
// OTLP 1 over HTTP (https://opentelemetry.io/docs/specs/otlp/), propagation W3C
// Trace Context.
//
// # Errors
//
// Decorators pass errors through as they are. To find nothing, and to be
// cancelled, counts as no error.
//
// All types are safe for concurrent use.
package obs

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hashstream/hashstream/digest"
)

// Metrics counts what a node does. Its methods take no locks and, but for the
// first use of a combination of labels, allocate nothing.
type Metrics struct {
	registry *prometheus.Registry
	requests *requests

	verified, verifiedBytes, verifyFailed prometheus.Counter
	cache                                 *prometheus.CounterVec
	planHit, planMiss                     prometheus.Counter
	bodyPlan, bodyWalk                    prometheus.Counter
	failures                              *prometheus.CounterVec
	quarantined                           prometheus.Gauge
	scrub                                 scrub
	plan                                  *prometheus.HistogramVec
	blob                                  storeMetrics
	kv                                    storeMetrics
	bucket                                bucket
}

type scrub struct {
	bytes, packs, faults prometheus.Counter
	progress             prometheus.Gauge
	finished, duration   prometheus.Gauge
}

// NewMetrics returns metrics with a registry of their own, and the Go runtime's
// and the process's in it. version is shown as a label of hashstream_build_info.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	f := factory{r}
	info := f.gauges("build_info", "Always 1; the label is the program's version.", "version")
	info.WithLabelValues(version).Set(1)
	m := &Metrics{
		registry:      r,
		requests:      newRequests(f),
		verified:      f.counter("verified_blocks_total", "Blocks whose bytes were hashed and found right."),
		verifiedBytes: f.counter("verified_bytes_total", "Bytes of the blocks that were hashed and found right."),
		verifyFailed:  f.counter("verify_failed_blocks_total", "Blocks whose bytes do not match their digest."),
		cache:         f.counters("cache_lookups_total", "Lookups in a cache in memory.", "cache", "result"),
		failures:      f.counters("stream_failures_total", "Responses that were aborted after they began.", "cause"),
		quarantined:   f.gauge("quarantined_blocks", "Blocks that are not served because their bytes were found wrong."),
		scrub: scrub{
			bytes:    f.counter("scrub_bytes_total", "Bytes that the scrubber has hashed."),
			packs:    f.counter("scrub_packs_total", "Packs that the scrubber has read to the end."),
			faults:   f.counter("scrub_faults_total", "Faults that the scrubber has found."),
			progress: f.gauge("scrub_progress_ratio", "Share of the present pass that is done, by bytes."),
			finished: f.gauge("scrub_finished_timestamp_seconds", "When the last whole pass ended."),
			duration: f.gauge("scrub_duration_seconds", "Time that the last whole pass took."),
		},
		plan:   f.histograms("plan_seconds", "Time to plan a response, by encoding.", 10e-6, "encoding"),
		blob:   newStoreMetrics(f, "blob", "Time to answer a store of bytes; a read's ends when its first byte can be read.", 10e-6),
		bucket: newBucket(f),
		kv:     newStoreMetrics(f, "kv", "Time to answer a store of keys; a scan's ends at its first pair.", 1e-6),
	}
	bodies := f.counters("bodies_total", "Responses that were opened: from a plan, or as a walk over blocks.", "kind")
	m.bodyPlan, m.bodyWalk = bodies.WithLabelValues("plan"), bodies.WithLabelValues("walk")
	m.planHit, m.planMiss = m.cache.WithLabelValues("plan", "hit"), m.cache.WithLabelValues("plan", "miss")
	return m
}

// Handler serves the metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, EnableOpenMetrics: true})
}

// Registry is where further collectors are registered, such as those of a backend.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// BlocksVerified counts n blocks of bytes in all that were hashed and found right.
func (m *Metrics) BlocksVerified(n int, bytes int64) {
	m.verified.Add(float64(n))
	m.verifiedBytes.Add(float64(bytes))
}

// Verified counts blocks that were hashed, with the outcome: the form of the
// streamer's hook.
func (m *Metrics) Verified(blocks int, bytes int64, err error) {
	switch {
	case err == nil:
		m.BlocksVerified(blocks, bytes)
	case errors.Is(err, digest.ErrMismatch):
		m.VerifyFailed()
	}
}

// Planned counts a response that was opened, with a plan or as a walk.
func (m *Metrics) Planned(planned bool) {
	if planned {
		m.bodyPlan.Inc()
	} else {
		m.bodyWalk.Inc()
	}
}

// VerifyFailed counts a block that does not match its digest.
func (m *Metrics) VerifyFailed() { m.verifyFailed.Inc() }

// Quarantined says how many blocks are not served because they are known to be wrong.
func (m *Metrics) Quarantined(n int) { m.quarantined.Set(float64(n)) }

// StreamFailed counts a response that was aborted after it began. cause is one of
// a few constants, such as "corrupt" or "missing": each becomes a series.
func (m *Metrics) StreamFailed(cause string) { m.failures.WithLabelValues(cause).Inc() }

// PlanHit counts a plan found in memory.
func (m *Metrics) PlanHit() { m.planHit.Inc() }

// PlanMiss counts a plan read from the index.
func (m *Metrics) PlanMiss() { m.planMiss.Inc() }

// Cache returns the functions that count the hits and misses of a cache. name is
// a constant.
func (m *Metrics) Cache(name string) (hit, miss func()) {
	return m.cache.WithLabelValues(name, "hit").Inc, m.cache.WithLabelValues(name, "miss").Inc
}

// CacheLookup is [Metrics.Cache] as one function.
func (m *Metrics) CacheLookup(name string) func(hit bool) {
	hit, miss := m.Cache(name)
	return func(found bool) {
		if found {
			hit()
		} else {
			miss()
		}
	}
}

// Gauge registers a number that is asked for when metrics are read, such as the
// size of a cache. name comes without the prefix "hashstream_". Each name can be
// registered once; a second time panics.
func (m *Metrics) Gauge(name, help string, f func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, f))
}

// ScrubProgress counts bytes that were hashed since the last call, of a pass that
// has done of total bytes behind it.
func (m *Metrics) ScrubProgress(bytes, done, total int64) {
	m.scrub.bytes.Add(float64(bytes))
	if total > 0 {
		m.scrub.progress.Set(float64(done) / float64(total))
	}
}

// PackScrubbed counts a pack that was read to its end, and the faults found in it.
func (m *Metrics) PackScrubbed(faults int) {
	m.scrub.packs.Inc()
	m.scrub.faults.Add(float64(faults))
}

// ScrubDone records the end of a whole pass that began at start.
func (m *Metrics) ScrubDone(start, end time.Time) {
	m.scrub.progress.Set(1)
	m.scrub.finished.Set(float64(end.UnixMilli()) / 1000)
	m.scrub.duration.Set(end.Sub(start).Seconds())
}

const namespace = "hashstream"

// factory makes and registers metrics.
type factory struct{ r *prometheus.Registry }

func (f factory) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	f.r.MustRegister(c)
	return c
}

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	f.r.MustRegister(c)
	return c
}

func (f factory) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	f.r.MustRegister(g)
	return g
}

func (f factory) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	f.r.MustRegister(g)
	return g
}

// histograms have ten buckets, each four times as wide as the one before.
func (f factory) histograms(name, help string, least float64, labels ...string) *prometheus.HistogramVec {
	h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(least, 4, 10)}, labels)
	f.r.MustRegister(h)
	return h
}
