package indexer

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/ipni/go-libipni/find/model"

	"github.com/hashstream/hashstream/ipni/ipnihttp"
	"github.com/hashstream/hashstream/ipni/ipnihttp/ingesthttp"
	"github.com/hashstream/hashstream/ipni/ipnisync"
	"github.com/hashstream/hashstream/ipni/registry"
	"github.com/hashstream/hashstream/routinghttp"
)

// route is requests that a handler of the index answers.
type route struct {
	prefix  string // of the path, or all of it if it does not end in a slash
	handler http.Handler
}

// Wrap returns a handler that answers what is for the index, and passes the rest on.
func (s *Service) Wrap(next http.Handler) http.Handler {
	routes := s.routes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, to := range routes {
			if r.URL.Path == to.prefix || strings.HasSuffix(to.prefix, "/") && strings.HasPrefix(r.URL.Path, to.prefix) {
				to.handler.ServeHTTP(w, r)
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Service) routes() []route {
	var all []route
	add := func(h http.Handler, prefixes ...string) {
		for _, p := range prefixes {
			all = append(all, route{p, h})
		}
	}
	if s.finder != nil {
		lookups, index := s.lookups()
		add(lookups, "/multihash/", "/cid/", "/encrypted/", "/metadata/", "/multihash", "/providers", "/providers/", "/stats", "/health", "/ready")
		age := s.config.Find
		add(routinghttp.NewHandler(index.Finder, &routinghttp.Options{Done: s.node.Metrics.Routing, HitAge: caching(age.TTL.Std()), MissAge: caching(age.NegativeTTL.Std()), Logger: s.log}), "/routing/v1/")
	}
	if s.ingester != nil {
		add(ingesthttp.New(handing{announced{s.ingester}, s.shard}, &ingesthttp.Options{Registrar: s.registrar(), Version: s.node.Version, Logger: s.log}),
			"/announce", "/ingest/announce", "/register", "/sync/")
	}
	if s.publisher != nil {
		add(ipnisync.Handler(s.publisher, s.key, &ipnisync.HandlerOptions{Log: s.log}), ipnisync.Path+"/")
	}
	return all
}

// Shard returns the handler of the listener at shard.listen, or nil if there is none.
func (s *Service) Shard() http.Handler {
	if s.config.Shard.Listen == "" {
		return nil
	}
	if s.ingester == nil {
		return s.shard.Handler(nil)
	}
	return s.shard.Handler(ingesthttp.New(announced{s.ingester}, &ingesthttp.Options{Version: s.node.Version, Logger: s.log}))
}

// lookups is the handler of lookups, and what it serves.
func (s *Service) lookups() (http.Handler, ipnihttp.Index) {
	o := &ipnihttp.Options{
		Version: s.node.Version, HitAge: caching(s.config.Find.TTL.Std()), MissAge: caching(s.config.Find.NegativeTTL.Std()), Logger: s.log,
		Done: s.node.Metrics.Lookup,
	}
	if s.foreign != nil {
		o.Cascade, o.CascadeLabels = s.foreign.Cascade, s.foreign.Labels()
		o.Timeout = foreignTimeout
	}
	return ipnihttp.New(s.served, o), s.served
}

// foreignTimeout is how long a lookup may take that asks others.
const foreignTimeout = 20 * time.Second

// caching says how long caches may keep an answer as handlers want to be told it: not at all is
// negative.
func caching(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}

// view is what this node tells of providers.
func (s *Service) view() *registry.View {
	return registry.NewView(s.registry, s.allowed)
}

// stats counts the records of this node.
func (s *Service) stats(context.Context) (model.Stats, error) {
	if s.values != nil && s.values.Stats != nil {
		n := s.values.Stats().Records
		return model.Stats{EntriesEstimate: n, EntriesCount: n}, nil
	}
	return model.Stats{}, fmt.Errorf("indexer: the store does not count its records: %w", fs.ErrNotExist)
}
