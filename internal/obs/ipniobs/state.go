package ipniobs

import (
	"cmp"
	"slices"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hashstream/hashstream/ipni/breaker"
)

const (
	shownLags  = 20      // publishers that are named, those that are behind by most
	knownLags  = 1 << 16 // publishers behind of which one is remembered
	shownPeers = 64      // servers of which the breaker is shown
)

// names are values of a label, of which only some become series.
type names struct {
	limit int
	mu    sync.Mutex
	known []string
}

// label returns name, or "other" if there are too many.
func (n *names) label(name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case slices.Contains(n.known, name):
	case len(n.known) >= n.limit:
		return "other"
	default:
		n.known = append(n.known, name)
	}
	return name
}

// lags is how far publishers are behind. Anybody can be a publisher: so those that are
// up to date are forgotten, and only the worst have series of their own.
type lags struct {
	one, behind, all *prometheus.Desc

	mu    sync.Mutex
	known map[peer.ID]uint64
	owns  func(peer.ID) bool // nil for all
}

func newLags() *lags {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+"_"+name, help, labels, nil)
	}
	return &lags{
		one:    desc("ipni_publisher_lag_ads", "Advertisements of a publisher that are known to be left, of those publishers that have most.", "publisher"),
		behind: desc("ipni_publishers_behind", "Publishers of which advertisements are known to be left."),
		all:    desc("ipni_lag_ads", "Advertisements of all publishers that are known to be left."),
		known:  map[peer.ID]uint64{},
	}
}

func (l *lags) set(publisher peer.ID, lag uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lag == 0 {
		delete(l.known, publisher)
		return
	}
	if _, ok := l.known[publisher]; ok || len(l.known) < knownLags {
		l.known[publisher] = lag
	}
}

// Describe sends the descriptions of the series.
func (l *lags) Describe(out chan<- *prometheus.Desc) { out <- l.one; out <- l.behind; out <- l.all }

// Collect sends the series.
func (l *lags) Collect(out chan<- prometheus.Metric) {
	type lag struct {
		id peer.ID
		n  uint64
	}
	var list []lag
	total := 0.0
	l.mu.Lock()
	for id, n := range l.known {
		if l.owns != nil && !l.owns(id) {
			delete(l.known, id) // who follows it now tells of it
			continue
		}
		list = append(list, lag{id, n})
		total += float64(n)
	}
	l.mu.Unlock()
	slices.SortFunc(list, func(a, b lag) int { return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.id, b.id)) })
	out <- prometheus.MustNewConstMetric(l.behind, prometheus.GaugeValue, float64(len(list)))
	out <- prometheus.MustNewConstMetric(l.all, prometheus.GaugeValue, total)
	for _, x := range list[:min(len(list), shownLags)] {
		out <- prometheus.MustNewConstMetric(l.one, prometheus.GaugeValue, float64(x.n), x.id.String())
	}
}

// StoreStats is what a store of values holds: the form of segstore.Stats.
type StoreStats struct {
	Records     int64
	Bytes       int64
	Segments    int
	Debt        int64 // bytes that are still to be merged
	Memory      int64 // bytes
	RemovedTags int
}

// Store registers gauges of a store of values, which stats is asked for when metrics are read. It is
// to be called once.
func (x *Metrics) Store(stats func() StoreStats) {
	gauges := []struct {
		name, help string
		of         func(StoreStats) float64
	}{
		{"records", "Records in the store of the index; those that were removed count until their space comes back.", func(s StoreStats) float64 { return float64(s.Records) }},
		{"bytes", "Bytes on disk of the records.", func(s StoreStats) float64 { return float64(s.Bytes) }},
		{"segments", "Files of records.", func(s StoreStats) float64 { return float64(s.Segments) }},
		{"debt_bytes", "Bytes of records that are still to be merged.", func(s StoreStats) float64 { return float64(s.Debt) }},
		{"memory_bytes", "Bytes in memory of tables, indexes and filters.", func(s StoreStats) float64 { return float64(s.Memory) }},
		{"removed_groups", "Removed groups whose records still take space.", func(s StoreStats) float64 { return float64(s.RemovedTags) }},
	}
	c := &storeCollector{stats: stats}
	for _, g := range gauges {
		c.descs = append(c.descs, prometheus.NewDesc(namespace+"_ipni_store_"+g.name, g.help, nil, nil))
		c.of = append(c.of, g.of)
	}
	x.registry.MustRegister(c)
}

// storeCollector asks once for all gauges.
type storeCollector struct {
	stats func() StoreStats
	descs []*prometheus.Desc
	of    []func(StoreStats) float64
}

// Describe sends the descriptions of the series.
func (c *storeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		out <- d
	}
}

// Collect sends the series.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	for i, d := range c.descs {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, c.of[i](s))
	}
}

// Breaker is a server that is asked, with the state of its breaker.
type Breaker struct {
	Kind  string // "member" or "indexer"
	Name  string
	State breaker.State
}

// Breakers registers a gauge of the breakers that list returns when metrics are read: those of
// 64 servers at most, of which open ones come first. It is to be called once.
func (x *Metrics) Breakers(list func() []Breaker) {
	x.registry.MustRegister(&breakers{list, prometheus.NewDesc(namespace+"_ipni_breaker_open",
		"Whether a server is not asked since it failed: 0 it is asked, 0.5 it is tried, 1 it is not.", []string{"kind", "name"}, nil)})
}

type breakers struct {
	list func() []Breaker
	desc *prometheus.Desc
}

// Describe sends the description of the series.
func (b *breakers) Describe(out chan<- *prometheus.Desc) { out <- b.desc }

// Collect sends the series.
func (b *breakers) Collect(out chan<- prometheus.Metric) {
	value := func(x Breaker) float64 {
		return map[breaker.State]float64{breaker.HalfOpen: 0.5, breaker.Open: 1}[x.State]
	}
	all := slices.SortedStableFunc(slices.Values(b.list()), func(x, y Breaker) int {
		return cmp.Or(cmp.Compare(value(y), value(x)), cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.Name, y.Name))
	})
	// A server may be asked in several classes: the worst of its breakers counts.
	type key struct{ kind, name string }
	seen := map[key]bool{}
	for _, x := range all {
		k := key{x.Kind, x.Name}
		if seen[k] || len(seen) >= shownPeers {
			continue
		}
		seen[k] = true
		out <- prometheus.MustNewConstMetric(b.desc, prometheus.GaugeValue, value(x), x.Kind, x.Name)
	}
}
