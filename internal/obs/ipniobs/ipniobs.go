// Package ipniobs counts what a provider index does, in the registry of a node's metrics. Its
// methods fit the hooks of the packages below ipni and of those that serve it, which know
// nothing of it.
//
// The values of all labels are bounded: whoever can choose one (publishers, clients) has no
// series of its own without limit.
//
// # Errors
//
// Decorators pass errors through as they are.
//
// Metrics are safe for concurrent use.
package ipniobs

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ingest"
	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp"
	"github.com/hashstream/hashstream/routinghttp"
)

// The values of the labels of an index. What is not listed counts as the last.
var (
	lookupRoutes = [...]string{"cid", "multihash", "encrypted/cid", "encrypted/multihash", "metadata", "providers", "stats", "health", "routing", "other"}
	outcomes     = [...]string{"hit", "miss", "refused", "cut", "error"}
	writeRoutes  = [...]string{"multihash", "metadata", "remove", "partition", "other"}
	adStatuses   = [...]string{"indexed", "skipped", "pending", "other"}
)

// Metrics is the metrics of a provider index. [New] makes them.
type Metrics struct {
	registry *prometheus.Registry

	ads         [len(adStatuses)]prometheus.Counter
	multihashes prometheus.Counter
	adSeconds   prometheus.Observer
	heads       [2]prometheus.Counter
	failures    prometheus.Counter
	pauses      prometheus.Counter
	lags        *lags

	lookups [len(lookupRoutes)][len(outcomes)]prometheus.Observer
	first   [len(lookupRoutes)]prometheus.Observer
	results [len(lookupRoutes)]prometheus.Counter

	writes       *prometheus.CounterVec
	writeSeconds *prometheus.HistogramVec
	writeBytes   *prometheus.CounterVec
	putSeconds   *prometheus.HistogramVec
	putErrors    *prometheus.CounterVec
	putBytes     prometheus.Counter

	coverage *prometheus.GaugeVec
	against  names
}

const namespace = "hashstream"

// factory makes and registers metrics.
type factory struct{ promauto.Factory }

func (f factory) counters(name, help string, labels ...string) *prometheus.CounterVec {
	return f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
}

func (f factory) counter(name, help string) prometheus.Counter {
	return f.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
}

// histograms have ten buckets, each four times as wide as the one before.
func (f factory) histograms(name, help string, least float64, labels ...string) *prometheus.HistogramVec {
	return f.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help,
		Buckets: prometheus.ExponentialBuckets(least, 4, 10)}, labels)
}

// New returns the metrics of a provider index in a registry, which has one index at most: a second
// time panics.
// A nil registry is one of their own, for who shows them to nobody.
func New(r *prometheus.Registry) *Metrics {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	f := factory{promauto.With(r)}
	heads := f.counters("ipni_heads_total", "Questions to publishers for their heads.", "outcome")
	x := &Metrics{
		registry:     r,
		multihashes:  f.counter("ipni_ingested_multihashes_total", "Multihashes of advertisements that were put into the index."),
		adSeconds:    f.histograms("ipni_ad_seconds", "Time to process an advertisement with its entries.", 1e-3).WithLabelValues(),
		heads:        [2]prometheus.Counter{heads.WithLabelValues("ok"), heads.WithLabelValues("error")},
		failures:     f.counter("ipni_publisher_failures_total", "Failures to work on the chain of a publisher."),
		pauses:       f.counter("ipni_pauses_total", "Times that ingestion waited since the index or its state failed."),
		lags:         newLags(),
		writes:       f.counters("ipni_writes_total", "Requests of others to write.", "route", "format", "status"),
		writeSeconds: f.histograms("ipni_write_seconds", "Time of a request to write.", 100e-6, "route", "format"),
		writeBytes:   f.counters("ipni_write_bytes_total", "Bytes of the records in requests to write.", "format"),
		putSeconds:   f.histograms("ipni_put_seconds", "Time of a write of ingestion into the index.", 10e-6, "op"),
		putErrors:    f.counters("ipni_put_errors_total", "Writes of ingestion into the index that failed.", "op"),
		putBytes:     f.counter("ipni_put_bytes_total", "Bytes of multihashes that ingestion wrote into the index."),
		coverage: f.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: "ipni_coverage",
			Help: "How this index compares with another, as of the last comparisons: shares from 0 to 1, " +
				"but counts for ads_behind and max_ads_behind and for what ends with _behind, _unclear, _asked or _failed."}, []string{"against", "measure"}),
		against: names{limit: 8},
	}
	ads := f.counters("ipni_ads_total", "Advertisements that were worked on, by what became of them.", "status")
	for i, s := range adStatuses {
		x.ads[i] = ads.WithLabelValues(s)
	}
	lookups := f.histograms("ipni_lookup_seconds", "Time of a lookup until its answer's end.", 10e-6, "route", "outcome")
	first := f.histograms("ipni_first_result_seconds", "Time of a lookup until its first result.", 10e-6, "route")
	results := f.counters("ipni_lookup_results_total", "Results of lookups.", "route")
	for i, route := range lookupRoutes {
		for j, outcome := range outcomes {
			x.lookups[i][j] = lookups.WithLabelValues(route, outcome)
		}
		x.first[i], x.results[i] = first.WithLabelValues(route), results.WithLabelValues(route)
	}
	r.MustRegister(x.lags)
	return x
}

// Follows has the lag be told of those publishers alone that owns says this node follows; others
// may have followed them meanwhile.
func (x *Metrics) Follows(owns func(publisher peer.ID) bool) {
	x.lags.mu.Lock()
	defer x.lags.mu.Unlock()
	x.lags.owns = owns
}

// Trace returns hooks that count, and call those of next too.
func (x *Metrics) Trace(next ingest.Trace) ingest.Trace {
	t := next
	t.Head = func(publisher peer.ID, head cid.Cid, err error) {
		i := 0
		if err != nil {
			i = 1
		}
		x.heads[i].Inc()
		if next.Head != nil {
			next.Head(publisher, head, err)
		}
	}
	t.Ad = func(e ingest.AdEvent) {
		x.ads[position(adStatuses[:], e.Status.String())].Inc()
		x.multihashes.Add(float64(e.Multihashes))
		x.adSeconds.Observe(e.Took.Seconds())
		x.lags.set(e.Publisher, e.Lag)
		if next.Ad != nil {
			next.Ad(e)
		}
	}
	t.Failed = func(publisher peer.ID, err error) {
		x.failures.Inc()
		if next.Failed != nil {
			next.Failed(publisher, err)
		}
	}
	t.Paused = func(err error) {
		x.pauses.Inc()
		if next.Paused != nil {
			next.Paused(err)
		}
	}
	return t
}

// Lookup counts a lookup: the form of the hook of package ipnihttp.
func (x *Metrics) Lookup(r *http.Request, d ipnihttp.Done) {
	x.lookup(r, d.Route, d.Status, d.Results, d.First, d.Elapsed, d.Err)
}

// Routing counts a lookup of Delegated Routing: the form of the hook of package routinghttp.
func (x *Metrics) Routing(r *http.Request, d routinghttp.Done) {
	x.lookup(r, "routing", d.Status, d.Records, d.First, d.Elapsed, d.Err)
}

func (x *Metrics) lookup(r *http.Request, route string, status, results int, first, elapsed time.Duration, err error) {
	i := position(lookupRoutes[:], route)
	x.lookups[i][position(outcomes[:], outcome(r, status, results, err))].Observe(elapsed.Seconds())
	x.results[i].Add(float64(results))
	if results > 0 && first > 0 {
		x.first[i].Observe(first.Seconds())
	}
}

// outcome says how a lookup ended. That a client went away is not for the index to answer for.
func outcome(r *http.Request, status, results int, err error) string {
	switch {
	case err != nil && r != nil && r.Context().Err() == context.Canceled:
		return "cut"
	case err != nil || status >= http.StatusInternalServerError:
		return "error"
	case status == http.StatusNotFound, status < http.StatusMultipleChoices && results == 0:
		return "miss"
	case status >= http.StatusMultipleChoices && status != http.StatusNotModified:
		return "refused"
	}
	return "hit"
}

// Written counts a request to write: the form of the hook of package storehttp.
func (x *Metrics) Written(_ *http.Request, d storehttp.Done) {
	route, format := writeRoutes[position(writeRoutes[:], d.Route)], "json"
	if d.Binary {
		format = "binary"
	}
	x.writes.WithLabelValues(route, format, statusClass(d.Status)).Inc()
	x.writeSeconds.WithLabelValues(route, format).Observe(d.Elapsed.Seconds())
	x.writeBytes.WithLabelValues(format).Add(float64(max(d.Bytes, 0)))
}

// position returns where s stands in list, or the last place.
func position(list []string, s string) int {
	if i := slices.Index(list, s); i >= 0 {
		return i
	}
	return len(list) - 1
}

// statusClass is "2xx" and the like.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return string(rune('0'+status/100)) + "xx"
}

// remover is a sink that can remove all groups of a provider at once.
type remover interface {
	RemoveSealed(ctx context.Context, provider ipni.ProviderTag, context *dhash.MetadataKey, before uint64) error
}

// op is one operation, with its series at hand.
type op struct {
	seconds prometheus.Observer
	errors  prometheus.Counter
}

func (x *Metrics) op(name string) op {
	return op{x.putSeconds.WithLabelValues(name), x.putErrors.WithLabelValues(name)}
}

// done records an operation that began at start. To be cancelled is no error.
func (o op) done(start time.Time, err error) {
	o.seconds.Observe(time.Since(start).Seconds())
	if err != nil && !errors.Is(err, context.Canceled) {
		o.errors.Inc()
	}
}

// Sink returns s with its writes counted. If s can remove all groups of a provider at once, the
// result can too.
func (x *Metrics) Sink(s ipni.Sink) ipni.Sink {
	counted := &sink{
		inner: s, put: x.op("put"), remove: x.op("remove"), metadata: x.op("metadata"), written: x.putBytes,
	}
	if r, ok := s.(remover); ok {
		return &removingSink{counted, r}
	}
	return counted
}

type sink struct {
	inner                 ipni.Sink
	put, remove, metadata op
	written               prometheus.Counter
}

func (s *sink) Put(ctx context.Context, g ipni.Group, mhs ipni.Multihashes) error {
	start := time.Now()
	err := s.inner.Put(ctx, g, mhs)
	s.put.done(start, err)
	if err == nil {
		s.written.Add(float64(len(mhs)))
	}
	return err
}

func (s *sink) Remove(ctx context.Context, c ipni.Context, before uint64) error {
	start := time.Now()
	err := s.inner.Remove(ctx, c, before)
	s.remove.done(start, err)
	return err
}

func (s *sink) PutMetadata(ctx context.Context, c ipni.Context, metadata []byte) error {
	start := time.Now()
	err := s.inner.PutMetadata(ctx, c, metadata)
	s.metadata.done(start, err)
	return err
}

type removingSink struct {
	*sink
	remover remover
}

func (s *removingSink) RemoveSealed(ctx context.Context, provider ipni.ProviderTag, c *dhash.MetadataKey, before uint64) error {
	start := time.Now()
	err := s.remover.RemoveSealed(ctx, provider, c, before)
	s.remove.done(start, err)
	return err
}
