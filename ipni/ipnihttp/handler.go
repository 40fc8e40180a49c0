package ipnihttp

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipni/go-libipni/find/model"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
)

// Defaults and fixed limits.
const (
	defaultHitAge  = time.Minute
	defaultMissAge = 10 * time.Second
	defaultBatch   = 1024
	maxName        = 512     // bytes of a multihash or CID in a path; base58 takes quadratic time
	maxBatchBody   = 1 << 20 // bytes of a request for many multihashes
)

// Providers tells what is known of providers.
type Providers interface {
	// Provider describes one provider. If it is unknown, or blocked, the error matches fs.ErrNotExist.
	Provider(ctx context.Context, id peer.ID) (*model.ProviderInfo, error)
	// Providers yields all of them.
	Providers(ctx context.Context) iter.Seq2[*model.ProviderInfo, error]
}

// Index is what a [Handler] serves. What is nil is answered 501, so that nobody takes
// its absence for that of a provider.
type Index struct {
	Finder    ipni.Finder
	Sealed    ipni.SealedReader
	Providers Providers
	Stats     func(ctx context.Context) (model.Stats, error) // wire.ErrBusy while it is being counted
	Ready     func(ctx context.Context) error                // default: always
}

// Options adjusts a [Handler]. A nil Options or a zero field means the default.
type Options struct {
	Version  string        // told by /health; default none
	HitAge   time.Duration // how long caches may keep results; default 1 min, negative means not at all
	MissAge  time.Duration // the same of "not found"; default 10 s, negative means not at all
	MaxBatch int           // multihashes of one request; default 1024
	Timeout  time.Duration // of a request, until 504, if what is asked has none of its own; default none

	// Cascade chooses who answers a request that carries ?cascade=, by the values, instead
	// of the index's Finder; nil means the latter. Default: such values mean nothing.
	Cascade       func(labels []string) ipni.Finder
	CascadeLabels []string // told by OPTIONS

	Done   func(*http.Request, Done) // called after each lookup; default none
	Logger *slog.Logger              // faults of the server and cut answers; default none
}

// Done is how a lookup ended.
type Done struct {
	Route   string // such as "encrypted/multihash"
	Status  int
	Results int
	First   time.Duration // until the first result, or 0
	Elapsed time.Duration
	Err     error // of what failed; with [ipni.ErrIncomplete] the answer may be a whole one that says so
}

// Handler serves an index.
type Handler struct {
	index   Index
	o       Options
	fixed   fixed
	answers answers
}

// fixed are values of headers that never change, ready to be put into a map without a
// copy for each answer. Nobody writes to them.
type fixed struct {
	any, accept, json, lines, plain, nosniff []string
	hit, miss, never, missLength             []string
}

const missText = "no results for query\n"

// New returns a Handler of ix.
func New(ix Index, o *Options) *Handler {
	h := &Handler{index: ix}
	if o != nil {
		h.o = *o
	}
	if h.o.HitAge == 0 {
		h.o.HitAge = defaultHitAge
	}
	if h.o.MissAge == 0 {
		h.o.MissAge = defaultMissAge
	}
	if h.o.MaxBatch == 0 {
		h.o.MaxBatch = defaultBatch
	}
	h.fixed = fixed{
		any: []string{"*"}, accept: []string{"Accept"}, json: []string{typeJSON + "; charset=utf-8"}, lines: []string{typeLines},
		plain: []string{"text/plain; charset=utf-8"}, nosniff: []string{"nosniff"},
		hit: age(h.o.HitAge), miss: age(h.o.MissAge), never: age(-1), missLength: []string{strconv.Itoa(len(missText))},
	}
	return h
}

// age returns a Cache-Control header.
func age(d time.Duration) []string {
	if d < 0 {
		return []string{"no-store"}
	}
	return []string{"public, max-age=" + strconv.Itoa(int(d/time.Second))}
}

const (
	readMethods  = "GET, HEAD, OPTIONS"
	batchMethods = "POST, OPTIONS"
)

// ServeHTTP answers one request. It panics with [http.ErrAbortHandler] to cut an answer
// that cannot be completed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header()["Access-Control-Allow-Origin"] = h.fixed.any
	route, name := parse(r.URL.Path)
	methods := []string{http.MethodGet, http.MethodHead}
	allow := readMethods
	if name == "" && (route == routeHash || route == routeSealedHash) {
		methods, allow = []string{http.MethodPost}, batchMethods
	}
	switch {
	case r.Method == http.MethodOptions:
		h.preflight(w, allow)
		return
	case route == routeNone:
		wire.WriteError(w, r, http.StatusNotFound, wire.Refuse(http.StatusNotFound, "no such route"), nil)
		return
	case !wire.Allow(w, r, allow, methods...):
		return
	}
	h.serve(w, r, route, name)
}

// preflight tells scripts of other sites what they may ask.
func (h *Handler) preflight(w http.ResponseWriter, allow string) {
	header := w.Header()
	header.Set("Allow", allow)
	header.Set("Access-Control-Allow-Methods", allow)
	header.Set("Access-Control-Allow-Headers", "Accept, Content-Type")
	header.Set("Access-Control-Max-Age", "86400")
	if len(h.o.CascadeLabels) > 0 {
		header.Set("X-IPNI-Allow-Cascade", strings.Join(h.o.CascadeLabels, ", "))
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, route route, name string) {
	ctx := r.Context()
	if h.o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.o.Timeout)
		defer cancel()
	}
	var err error
	switch route {
	case routeMetadata:
		err = h.metadata(ctx, w, r, name)
	case routeProviders:
		err = h.providers(ctx, w, r)
	case routeProvider:
		err = h.provider(ctx, w, r, name)
	case routeStats:
		err = h.stats(ctx, w, r)
	case routeHealth:
		err = h.health(ctx, w)
	default:
		h.lookup(ctx, w, r, route, name)
	}
	if err != nil {
		wire.WriteError(w, r, wire.LookupStatus(err), err, h.o.Logger)
	}
}

// route is what a path asks for. The zero value is nothing.
type route byte

const (
	routeNone route = iota
	routeCID
	routeHash
	routeSealedCID
	routeSealedHash
	routeMetadata
	routeProviders
	routeProvider
	routeStats
	routeHealth
)

func (r route) String() string {
	return [...]string{"", "cid", "multihash", "encrypted/cid", "encrypted/multihash", "metadata", "providers", "providers", "stats", "health"}[r]
}

// parse cuts a path into a route and a name.
func parse(path string) (route, string) {
	path, sealed := strings.CutPrefix(path, "/encrypted")
	dir, name, named := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if strings.Contains(name, "/") || named && name == "" {
		return routeNone, ""
	}
	switch {
	case dir == "multihash" && sealed:
		return routeSealedHash, name
	case dir == "multihash":
		return routeHash, name
	case dir == "cid" && named && sealed:
		return routeSealedCID, name
	case dir == "cid" && named:
		return routeCID, name
	case sealed:
	case dir == "metadata" && named:
		return routeMetadata, name
	case dir == "providers" && named:
		return routeProvider, name
	case dir == "providers":
		return routeProviders, ""
	case dir == "stats" && !named:
		return routeStats, ""
	case (dir == "health" || dir == "ready") && !named:
		return routeHealth, ""
	}
	return routeNone, ""
}
