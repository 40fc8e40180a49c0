package node

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/hashstream/hashstream/gateway"
	"github.com/hashstream/hashstream/index"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/obs"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/pack"
	"github.com/hashstream/hashstream/scrub"
)

// publicServer is the gateway behind its limits.
func (n *server) publicServer() (*http.Server, error) {
	g := n.config.Gateway
	content := gateway.New(n.metrics.Opener(n.stores.Streamer), &gateway.Options{
		IdleTimeout: g.StallTimeout.Std(),
		Logger:      n.log,
		Trace: &gateway.Trace{
			Start:  func(*http.Request) { n.metrics.RequestStarted() },
			Done:   n.requestDone,
			Broken: func(_ *http.Request, cause gateway.Cause, _ error) { n.metrics.StreamFailed(string(cause)) },
		},
	})
	var handler http.Handler = content
	if n.indexer != nil {
		handler = n.indexer.Wrap(handler)
	}
	handler = gateway.NewConcurrencyLimit(g.MaxConcurrent, n.refused("concurrency")).Wrap(handler)
	if g.Rate > 0 {
		handler = gateway.NewRateLimit(g.Rate, &gateway.RateOptions{
			Burst: g.Burst, TrustedProxies: proxies(g), Refused: n.refused("rate"),
		}).Wrap(handler)
	}
	observed := &obs.HandlerOptions{Tracer: n.tracer}
	if backends.UsesBuckets(n.config) {
		observed.BucketRequests = n.metrics.BucketRequests
	}
	if n.config.Log.Access {
		observed.Access = n.log
	}
	s := n.newServer(obs.Handler(handler, observed))
	s.ConnContext = gateway.ConnContext
	if g.TLSCert == "" {
		return s, nil
	}
	certificate := n.certificate()
	if _, err := certificate(nil); err != nil {
		return nil, err
	}
	s.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate}
	return s, nil
}

func (n *server) requestDone(r *http.Request, res gateway.Result) {
	format := res.Format
	if format == "" {
		format = "none"
	}
	n.metrics.RequestDone(r.Method, format, res.Status, res.Bytes, res.Elapsed)
}

func (n *server) refused(limit string) func(*http.Request) {
	return func(*http.Request) { n.metrics.Rejected(limit) }
}

// proxies parses addresses that the configuration has validated.
func proxies(g config.Gateway) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range g.TrustedProxies {
		if p, err := config.ParseNetwork(s); err == nil {
			ps = append(ps, p)
		}
	}
	return ps
}

// newServer returns a server for HTTP/1.1 and HTTP/2, the latter without TLS too,
// as reverse proxies speak it.
func (n *server) newServer(h http.Handler) *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		Protocols:         &protocols,
		ReadHeaderTimeout: n.config.Gateway.HeaderTimeout.Std(),
		ReadTimeout:       n.config.Gateway.HeaderTimeout.Std(), // requests have small bodies, or none
		IdleTimeout:       n.config.Gateway.IdleTimeout.Std(),
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
	}
}

// shardServer takes records of other nodes and writers, whose bodies are long. The handler
// watches over their progress.
func (n *server) shardServer() *http.Server {
	s := n.newServer(n.indexer.Shard())
	s.ReadTimeout = 0
	return s
}

func (n *server) adminServer() *http.Server {
	o := &obs.AdminOptions{
		Metrics:   n.metrics,
		Status:    func() any { return n.status() },
		LocalOnly: !n.config.Admin.AllowRemote,
		Ready: []obs.Check{
			{Name: "index", Check: n.stores.ready},
			{Name: "node", Check: func(context.Context) error {
				if n.stopping.Load() {
					return errors.New("it stops")
				}
				return nil
			}},
		},
	}
	if n.indexer == nil {
		return n.newServer(obs.Admin(o))
	}
	// Assigners of publishers ask for the status of an index at the same path.
	o.Status = func() any {
		return struct {
			control.Status
			ingesthttp.NodeStatus
		}{n.status(), n.indexer.Status()}
	}
	if operator := n.indexer.Operator(); operator != nil {
		o.More = operator
	}
	return n.newServer(obs.Admin(o))
}

// scrubber returns a scrubber of this node's packs: the one in the background, which
// takes its time and goes on where it was, or the one that commands call.
func (n *server) scrubber(background bool) *scrub.Scrubber {
	var done, total int64
	o := &scrub.Options{Trace: scrub.Trace{
		Pack: func(info pack.Info, faults int64) {
			done += info.Size
			n.metrics.ScrubProgress(info.Size, done, total)
			n.metrics.PackScrubbed(int(faults))
		},
		Fault: func(f pack.Fault, loc index.Location) {
			n.stores.Streamer.Distrust(loc)
			n.log.Error("corrupt", "pack", f.Pack.String(), "block", f.CID.String(), "offset", f.Offset, "error", f.Err)
		},
	}}
	if background {
		o.Rate, o.Resume = int64(n.config.Scrub.Rate), true
		o.Trace.Start = func(bytes int64) { done, total = 0, bytes }
	}
	return scrub.New(n.stores.Packs, n.stores.KV, o)
}

// scrub runs passes until ctx ends.
func (n *server) scrub(ctx context.Context, s *scrub.Scrubber) {
	s.Run(ctx, n.config.Scrub.Interval.Std(), func(started time.Time, r scrub.Report, err error) {
		if err != nil {
			n.log.Error("scrub", "error", err)
			return
		}
		n.metrics.ScrubDone(started, time.Now())
		n.stores.quarantined.Store(true)
		n.log.Info("scrubbed", "packs", r.Packs, "bytes", r.Bytes, "faults", r.Faults, "released", r.Released)
	})
}

// countQuarantine keeps the metric true, at most a second behind, until ctx ends.
// Counting at each fault of a disk that fails would be too much.
func (n *server) countQuarantine(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n.stores.quarantined.Store(true); ; {
		if n.stores.quarantined.Swap(false) {
			count := 0
			for _, err := range n.stores.Index.Quarantines(ctx) {
				if err != nil {
					break
				}
				count++
			}
			n.metrics.Quarantined(count)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// controlServer answers the commands of this home.
func (n *server) controlServer(s *scrub.Scrubber) *control.Server {
	commands := map[string]control.Command{
		CommandScrub: func(ctx context.Context, _ []byte, out io.Writer) error {
			r, err := s.Pass(ctx)
			if err != nil {
				return err
			}
			n.stores.quarantined.Store(true)
			return json.NewEncoder(out).Encode(r)
		},
		CommandDistrust: func(ctx context.Context, args []byte, _ io.Writer) error {
			loc, err := index.ParseLocation(args)
			if err != nil {
				return err
			}
			n.stores.quarantined.Store(true)
			return n.stores.distrust(ctx, loc)
		},
	}
	if n.indexer != nil {
		commands[CommandIndexer] = n.indexer.Command
	}
	return control.NewServer(n.stores.KV, &control.Options{Status: n.status, Logger: n.log, Commands: commands})
}

// The commands of the control socket.
const (
	CommandScrub    = "scrub"    // one pass over all packs; answers a [scrub.Report] as JSON
	CommandDistrust = "distrust" // forget what was verified at the location that the argument encodes
	CommandIndexer  = "ipni"     // an [indexer.Request] as JSON; answers depend on it
)
