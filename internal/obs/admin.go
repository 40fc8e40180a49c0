package obs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"time"
)

// Check is something without which a node is not ready.
type Check struct {
	Name string
	// Check returns nil if all is well. It ends soon after ctx.
	Check func(ctx context.Context) error
}

// AdminOptions are the settings of [Admin].
type AdminOptions struct {
	// Metrics are served at /metrics. Default: none.
	Metrics *Metrics
	// Ready are asked for /readyz, in order. Default: always ready.
	Ready []Check
	// Status is served at /status as JSON. Default: an empty object.
	Status func() any
	// More is asked for what is none of the paths below. Default: they are answered 404.
	More http.Handler
	// LocalOnly refuses requests whose Host header is a name other than localhost:
	// a web page that points its own name at 127.0.0.1 cannot read them.
	LocalOnly bool
}

// readyTimeout bounds all checks of one /readyz together.
const readyTimeout = 5 * time.Second

// Admin returns the handler of the admin listener:
//
//	/healthz       200 while the process lives
//	/readyz        200 if every check passes, else 503 and the ones that do not
//	/metrics       Prometheus
//	/status        JSON
//	/debug/pprof/  profiles
func Admin(o *AdminOptions) http.Handler {
	if o == nil {
		o = &AdminOptions{}
	}
	a := *o
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { text(w, http.StatusOK, "ok\n") })
	mux.HandleFunc("GET /readyz", a.ready)
	mux.HandleFunc("GET /status", a.status)
	if a.Metrics != nil {
		mux.Handle("GET /metrics", a.Metrics.Handler())
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		text(w, http.StatusOK, "Hashstream admin: /healthz /readyz /metrics /status /debug/pprof/\n")
	})
	if a.More != nil {
		mux.Handle("/", a.More)
	}
	if !a.LocalOnly {
		return mux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localHost(r.Host) {
			text(w, http.StatusForbidden, "the admin listener is asked by address or as localhost\n")
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (a *AdminOptions) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	status, out := http.StatusOK, ""
	for _, check := range a.Ready {
		if err := check.Check(ctx); err != nil {
			status = http.StatusServiceUnavailable
			out += fmt.Sprintf("%s: %v\n", check.Name, err)
		}
	}
	if status == http.StatusOK {
		out = "ready\n"
	}
	text(w, status, out)
}

func (a *AdminOptions) status(w http.ResponseWriter, _ *http.Request) {
	var value any = struct{}{}
	if a.Status != nil {
		value = a.Status()
	}
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		text(w, http.StatusInternalServerError, err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(append(data, '\n')) // the client has gone
}

func text(w http.ResponseWriter, status int, s string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, s) // the client has gone
}

func localHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	_, err = netip.ParseAddr(strings.Trim(name, "[]")) // brackets are left if there was no port
	return err == nil || name == "localhost"
}
