package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashstream/hashstream/gateway"
	"github.com/hashstream/hashstream/internal/backends"
	"github.com/hashstream/hashstream/internal/config"
	"github.com/hashstream/hashstream/internal/control"
	"github.com/hashstream/hashstream/internal/indexer"
	"github.com/hashstream/hashstream/internal/obs"
	"github.com/hashstream/hashstream/internal/obs/ipniobs"
)

// Options are what [Serve] is told besides the configuration.
type Options struct {
	Version string
	Log     io.Writer            // log lines; default none
	Ready   func(control.Status) // called once, when every listener accepts connections
	Notify  func(message string) // told when something must be waited for; default none
}

// Serve runs a node until ctx ends, then lets running responses end within the
// configured time. It returns nil after such an end.
func Serve(ctx context.Context, c config.Config, o Options) error {
	if o.Log == nil {
		o.Log = io.Discard
	}
	log, err := obs.NewLogger(o.Log, c.Log.Level, c.Log.Format)
	if err != nil {
		return err
	}
	relaxGC()
	n := &server{config: c, options: o, log: log, started: time.Now()}
	defer n.close()
	return n.run(ctx)
}

// server is a node that runs.
type server struct {
	config  config.Config
	options Options
	log     *slog.Logger
	started time.Time
	metrics *obs.Metrics
	tracer  *obs.Tracer
	stores  *Stores
	indexer *indexer.Service // nil without a role
	socket  *control.Listener

	stopping atomic.Bool // told to those who ask whether it is ready

	index, packs string // names of the stores, without credentials

	mu        sync.Mutex
	addresses map[string]string
	closers   []func() error
}

// later has f called when the node stops, in reverse order.
func (n *server) later(f func() error) { n.closers = append(n.closers, f) }

func (n *server) close() {
	for i := len(n.closers) - 1; i >= 0; i-- {
		if err := n.closers[i](); err != nil {
			n.log.Error("stop", "error", err)
		}
	}
}

func (n *server) run(ctx context.Context) error {
	n.metrics = obs.NewMetrics(n.options.Version)
	var err error
	if n.index, err = backends.IndexName(n.config); err != nil {
		return err
	}
	if n.packs, err = backends.Packs(n.config); err != nil {
		return err
	}
	if err := n.open(ctx); err != nil {
		return err
	}
	handler, err := n.publicServer()
	if err != nil {
		return err
	}
	public, err := n.listen("gateway", n.config.Gateway.Listen, n.config.Gateway.TLSCert != "")
	if err != nil {
		return err
	}
	listeners := []listener{{gateway.Listen(public), handler}}
	if addr := n.config.Admin.Listen; addr != "" {
		admin, err := n.listen("admin", addr, false)
		if err != nil {
			return errors.Join(err, public.Close())
		}
		listeners = append(listeners, listener{admin, n.adminServer()})
	}
	if n.indexer != nil && n.config.Shard.Listen != "" {
		shard, err := n.listen("shard", n.config.Shard.Listen, false)
		if err != nil {
			return errors.Join(err, closeAll(listeners))
		}
		listeners = append(listeners, listener{shard, n.shardServer()})
	}
	return n.serve(ctx, listeners)
}

func closeAll(listeners []listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Listener.Close())
	}
	return errors.Join(errs...)
}

// open opens the stores and what observes them.
func (n *server) open(ctx context.Context) error {
	tracer, err := obs.NewTracer(ctx, obs.TracerOptions{
		Endpoint: n.config.Trace.Endpoint, SampleRatio: n.config.Trace.SampleRatio, Version: n.options.Version, Logger: n.log,
	})
	if err != nil {
		return err
	}
	n.tracer = tracer
	n.later(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return tracer.Shutdown(ctx)
	})
	n.stores, err = open(ctx, n.config, opening{owner: true, notify: n.options.Notify, metrics: n.metrics, log: n.log})
	if err != nil {
		return err
	}
	n.later(n.stores.Close)
	if err := n.openIndexer(ctx); err != nil {
		return err
	}
	// The socket comes last: who finds it finds a node that answers.
	n.socket, err = control.Listen(n.config.Home)
	if err != nil {
		return err
	}
	n.later(n.socket.Close)
	return nil
}

// openIndexer opens the provider index, if the node has a role in one.
func (n *server) openIndexer(ctx context.Context) error {
	if !indexer.Wanted(n.config) {
		return nil
	}
	s, err := indexer.Open(ctx, n.config, indexer.Node{
		Keys: n.stores.KV, Version: n.options.Version, Log: n.log, Metrics: ipniobs.New(n.metrics.Registry()), Backend: opening{metrics: n.metrics, log: n.log}.backend(),
	})
	if err != nil {
		return err
	}
	n.indexer = s
	n.later(s.Close)
	return s.Enter(ctx)
}

func (n *server) listen(name, addr string, secure bool) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", name, err)
	}
	scheme := "http"
	if secure {
		scheme = "https"
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.addresses == nil {
		n.addresses = map[string]string{}
	}
	n.addresses[name] = scheme + "://" + l.Addr().String()
	return l, nil
}

// listener is a server and where it listens.
type listener struct {
	net.Listener
	*http.Server
}

// serve runs every server, the control socket and the scrubber until ctx ends or
// one of the servers fails.
func (n *server) serve(ctx context.Context, listeners []listener) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, l := range listeners {
		running.Go(func() {
			if err := n.start(l); !errors.Is(err, http.ErrServerClosed) {
				cancel(fmt.Errorf("node: serve %s: %w", l.Listener.Addr(), err))
			}
		})
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	running.Go(func() { n.countQuarantine(background) })
	running.Go(func() {
		if err := n.controlServer(n.scrubber(false)).Serve(background, n.socket); err != nil && background.Err() == nil {
			cancel(err)
		}
	})
	if n.indexer != nil {
		running.Go(func() {
			if err := n.indexer.Run(background, n.addresses["gateway"], n.addresses["shard"]); err != nil {
				cancel(err)
			}
		})
	}
	if n.config.Scrub.Enabled && n.stores.writable() {
		running.Go(func() { n.scrub(background, n.scrubber(true)) })
	}
	n.announce()
	<-ctx.Done()
	n.stopping.Store(true)
	n.log.Info("stopping", "grace", n.config.Gateway.ShutdownTimeout.Std())
	n.drain(listeners)
	stop()
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

func (n *server) start(l listener) error {
	if l.TLSConfig != nil {
		return l.ServeTLS(l.Listener, "", "")
	}
	return l.Serve(l.Listener)
}

// drain refuses new requests and waits for running ones, within the configured time.
func (n *server) drain(listeners []listener) {
	ctx, cancel := context.WithTimeout(context.Background(), n.config.Gateway.ShutdownTimeout.Std())
	defer cancel()
	for _, l := range listeners {
		if err := l.Shutdown(ctx); err != nil {
			n.log.Warn("responses were cut", "listener", l.Listener.Addr().String(), "error", err)
			l.Server.Close()
		}
	}
}

func (n *server) announce() {
	status := n.status()
	n.log.Info("serving", "version", status.Version, "home", status.Home, "gateway", status.Addresses["gateway"], "admin", status.Addresses["admin"])
	if n.options.Ready != nil {
		n.options.Ready(status)
	}
}

func (n *server) status() control.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return control.Status{
		Version: n.options.Version, PID: os.Getpid(), Started: n.started, Home: n.config.Home,
		Index: n.index, Packs: n.packs, Addresses: n.addresses,
	}
}

// certificate reads the configured key pair again for every handshake after the
// files have changed, so that a renewed certificate needs no restart.
func (n *server) certificate() func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	var mu sync.Mutex
	var current *tls.Certificate
	var read time.Time
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(n.config.Gateway.TLSCert)
		if current != nil && (err != nil || info.ModTime().Equal(read)) {
			return current, nil
		}
		pair, err := tls.LoadX509KeyPair(n.config.Gateway.TLSCert, n.config.Gateway.TLSKey)
		if err != nil && current != nil {
			n.log.Error("certificate was not renewed", "error", err)
			return current, nil
		}
		if err != nil {
			return nil, fmt.Errorf("node: certificate: %w", err)
		}
		current, read = &pair, info.ModTime()
		return current, nil
	}
}
