package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hashstream/hashstream/block"
)

// maxCount bounds whole numbers that become channels, tokens or goroutines.
const maxCount = 1 << 20

// maxWeight bounds the share of a node: a hundred times as much as another has by default.
const maxWeight = 10_000

// validate checks each value for itself and those that belong together.
func (c *Config) validate() error {
	g := &c.Gateway
	checks := []struct {
		key string
		err error
	}{
		{"store.packs", checkURL(c.Store.Packs, "file:packs")},
		{"store.index", checkURL(c.Store.Index, "pebble:index")},
		{"add.profile", oneOf(c.Add.Profile, "unixfs-v1-2025", "unixfs-v0-2015")},
		{"add.pack_size", between(c.Add.PackSize, 2*block.MaxSize, 1<<40)},
		{"add.index", oneOf(c.Add.Index, "all", "single-level", "multiple-level", "none")},
		{"pipeline.queue", checkURL(c.Pipeline.Queue, "mem:")},
		{"pipeline.concurrency", between(c.Pipeline.Concurrency, 0, 1024)},
		{"gateway.listen", checkAddress(g.Listen)},
		{"gateway.tls_key", checkTLS(g.TLSCert, g.TLSKey)},
		{"gateway.max_concurrent", between(g.MaxConcurrent, 0, maxCount)},
		{"gateway.rate", between(g.Rate, 0, maxCount)},
		{"gateway.burst", between(g.Burst, 1, maxCount)},
		{"gateway.trusted_proxies", checkNetworks(g.TrustedProxies)},
		{"gateway.header_timeout", positive(g.HeaderTimeout)},
		{"gateway.idle_timeout", positive(g.IdleTimeout)},
		{"gateway.stall_timeout", positive(g.StallTimeout)},
		{"admin.listen", checkAdmin(c.Admin)},
		{"verify.mode", oneOf(c.Verify.Mode, "once", "always", "never")},
		{"scrub.interval", positive(c.Scrub.Interval)},
		{"ipni.roles", each(c.IPNI.Roles, func(r string) error { return oneOf(r, "ingest", "store", "find", "publish") })},
		{"ipni.state", optional(c.IPNI.State, func(s string) error { return checkURL(s, "postgres://HOST/DATABASE") })},
		{"ipni.values", checkURL(c.IPNI.Values, "segments:ipni")},
		{"ipni.mode", oneOf(c.IPNI.Mode, "sealed", "compact")},
		{"ipni.memory", between(c.IPNI.Memory, 16<<20, 1<<40)},
		{"ingest.publishers", oneOf(c.Ingest.Publishers, "any", "listed")},
		{"ingest.publish_for", oneOf(c.Ingest.PublishFor, "own", "any")},
		{"ingest.workers", between(c.Ingest.Workers, 1, 1024)},
		{"ingest.rate", between(c.Ingest.Rate, 0, maxCount)},
		{"ingest.entry_rate", between(c.Ingest.EntryRate, 0, 1e12)},
		{"ingest.freeze_at", between(c.Ingest.FreezeAt, 1, 100)},
		{"ingest.poll", positive(c.Ingest.Poll)},
		{"find.indexers", each(c.Find.Indexers, checkEndpoint)},
		{"find.cascade", each(c.Find.Cascade, checkCascade)},
		{"find.compare", checkEndpoint(c.Find.Compare)},
		{"find.compare_share", between(c.Find.CompareShare, 0, 0.5)},
		{"find.compare_interval", positive(c.Find.CompareInterval)},
		{"shard.listen", optional(c.Shard.Listen, checkAddress)},
		{"shard.url", checkEndpoint(c.Shard.URL)},
		{"shard.replicas", between(c.Shard.Replicas, 1, 16)},
		{"shard.weight", between(c.Shard.Weight, 1, maxWeight)},
		{"shard.rebalance_rate", between(Size(c.Shard.RebalanceRate), 64<<10, 1<<40)},
		{"mirror.store", optional(c.Mirror.Store, func(s string) error { return checkURL(s, "file:mirror") })},
		{"mirror.read", oneOf(c.Mirror.Read, "publisher", "first", "only")},
		{"publish.store", checkURL(c.Publish.Store, "file:advertisements")},
		{"publish.announce", each(c.Publish.Announce, checkEndpoint)},
		{"publish.interval", positive(c.Publish.Interval)},
		{"log.level", oneOf(c.Log.Level, "debug", "info", "warn", "error")},
		{"log.format", oneOf(c.Log.Format, "json", "text")},
		{"trace.endpoint", checkEndpoint(c.Trace.Endpoint)},
		{"trace.sample_ratio", between(c.Trace.SampleRatio, 0, 1)},
	}
	var problems []error
	for _, check := range checks {
		if check.err != nil {
			problems = append(problems, problem(c.Origin(check.key), check.key, check.err))
		}
	}
	return errors.Join(problems...)
}

// Origin says where key was set: "FILE:LINE", a variable's name, "command line" or "default".
func (c *Config) Origin(key string) string {
	if origin := c.origins[key]; origin != "" {
		return origin
	}
	return "default"
}

func oneOf(got string, allowed ...string) error {
	if slices.Contains(allowed, got) {
		return nil
	}
	last := len(allowed) - 1
	return fmt.Errorf("%q is not one of %s or %s", got, strings.Join(allowed[:last], ", "), allowed[last])
}

func between[T int | float64 | Size](got, low, high T) error {
	if got >= low && got <= high { // false for NaN
		return nil
	}
	if f, ok := any(got).(float64); ok && math.IsNaN(f) {
		return errors.New("nan is not a number")
	}
	return fmt.Errorf("%v is not between %v and %v", got, low, high)
}

// optional checks a value that may be empty.
func optional(s string, check func(string) error) error {
	if s == "" {
		return nil
	}
	return check(s)
}

// each checks the items of a list.
func each(list []string, check func(string) error) error {
	var problems []error
	for _, s := range list {
		problems = append(problems, check(s))
	}
	return errors.Join(problems...)
}

func checkCascade(s string) error {
	label, target, ok := strings.Cut(s, "=")
	if !ok || label == "" || target == "" {
		return fmt.Errorf(`%q is not LABEL=URL`, Redact(s))
	}
	return checkEndpoint(target)
}

func positive(d Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s is not more than 0", d)
	}
	return nil
}

func checkURL(s, example string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" {
		return fmt.Errorf("%q is not a URL such as %q", Redact(s), example)
	}
	return nil
}

func checkAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf(`%q is not an address such as "127.0.0.1:8080" or ":8080"`, s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", s)
	}
	return nil
}

// checkAdmin wants a loopback address, because the listener has no login.
func checkAdmin(a Admin) error {
	if a.Listen == "" {
		return nil
	}
	if err := checkAddress(a.Listen); err != nil || a.AllowRemote {
		return err
	}
	host, _, _ := net.SplitHostPort(a.Listen)
	if addr, err := netip.ParseAddr(host); host == "localhost" || err == nil && addr.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q can be reached from other machines and has no login; listen on 127.0.0.1, or set admin.allow_remote = true", a.Listen)
}

func checkTLS(cert, key string) error {
	if (cert == "") != (key == "") {
		return errors.New("gateway.tls_cert and gateway.tls_key go together")
	}
	return nil
}

func checkNetworks(list []string) error {
	for _, s := range list {
		if _, err := ParseNetwork(s); err != nil {
			return err
		}
	}
	return nil
}

// ParseNetwork reads an address or a network in CIDR form.
func ParseNetwork(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address or a network such as 10.0.0.0/8", s)
	}
	return p.Masked(), nil
}

func checkEndpoint(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf(`%q is not a URL such as "http://127.0.0.1:4318"`, Redact(s))
	}
	return nil
}
