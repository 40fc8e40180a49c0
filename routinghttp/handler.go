package routinghttp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/routinghttp/filter"
)

// Defaults and fixed limits.
const (
	defaultTimeout = 20 * time.Second
	defaultStall   = 30 * time.Second
	defaultRecords = 100
	defaultResults = 1 << 16
	defaultHitAge  = 5 * time.Minute
	defaultMissAge = 15 * time.Second
	maxCID         = 512 // bytes of a CID in a path; base58 takes quadratic time
	maxQuery       = 16 << 10

	never     = "no-store"
	prefix    = "/routing/v1/"
	providers = prefix + "providers/"
	allowed   = "GET, HEAD, OPTIONS"
)

// Options adjusts a [Handler]. A nil Options or a zero field means the default.
type Options struct {
	Timeout time.Duration // of a lookup, until 504; default 20 s, negative means none
	Stall   time.Duration // without progress of a reader, until the connection is cut; default 30 s
	Records int           // of an answer in JSON; default 100, as the specification wants
	Results int           // that are read for an answer; more are an error; default 65,536

	HitAge  time.Duration // how long caches may keep records; default 5 min, negative means not at all
	MissAge time.Duration // the same of an empty answer; default 15 s, negative means not at all

	Done   func(*http.Request, Done) // called after each lookup; default none
	Logger *slog.Logger              // failures of the finder and cut answers; default none
}

// Done is how a lookup ended.
type Done struct {
	Status  int
	Records int           // that were written
	First   time.Duration // until the first of them, or 0
	Elapsed time.Duration
	Err     error // of what failed; with [ipni.ErrIncomplete] the answer may be a whole one that says so
}

// Handler serves the providers that a finder finds.
type Handler struct {
	finder    ipni.Finder
	o         Options
	hit, miss string // of Cache-Control
}

// NewHandler returns a Handler of what finder finds.
func NewHandler(finder ipni.Finder, o *Options) *Handler {
	h := &Handler{finder: finder}
	if o != nil {
		h.o = *o
	}
	set(&h.o.Timeout, defaultTimeout)
	set(&h.o.Stall, defaultStall)
	set(&h.o.Records, defaultRecords)
	set(&h.o.Results, defaultResults)
	set(&h.o.HitAge, defaultHitAge)
	set(&h.o.MissAge, defaultMissAge)
	h.hit, h.miss = never, never
	if age := seconds(h.o.HitAge); h.o.HitAge > 0 {
		h.hit = fmt.Sprintf("public, max-age=%d, stale-while-revalidate=%d, stale-if-error=%d", age, 2*age, 24*60*60)
	}
	if h.o.MissAge > 0 { // nothing about stale answers: what is new is to be found soon
		h.miss = fmt.Sprintf("public, max-age=%d", seconds(h.o.MissAge))
	}
	return h
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func seconds(d time.Duration) int { return int(d / time.Second) }

// refusal is an answer to a question that is at fault.
type refusal struct {
	status int
	reason string
}

func (e *refusal) Error() string { return e.reason }

// statusOf returns the status that tells an error.
func statusOf(err error) int {
	var no *refusal
	var slow interface{ Timeout() bool }
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &no):
		return no.status
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &slow) && slow.Timeout():
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// ServeHTTP answers one request. It panics with [http.ErrAbortHandler] to cut an answer
// that cannot be completed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", allowed)
	name, found := strings.CutPrefix(r.URL.Path, providers)
	switch {
	case r.Method == http.MethodOptions:
		header.Set("Allow", allowed)
		header.Set("Access-Control-Allow-Headers", "Accept, Content-Type")
		header.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	case known(r.URL.Path) && !found:
		h.refuse(w, r, http.StatusNotImplemented, "this server finds providers, and nothing else")
	case found && r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", allowed)
		h.refuse(w, r, http.StatusNotImplemented, "records come from advertisements, and cannot be written here")
	case !found || name == "" || strings.Contains(name, "/"):
		h.refuse(w, r, http.StatusBadRequest, "no such path")
	default:
		h.lookup(w, r, name)
	}
}

// known reports whether the specification has a path.
func known(path string) bool {
	switch dir, rest, _ := strings.Cut(strings.TrimPrefix(path, prefix), "/"); dir {
	case "providers":
		return rest == ""
	case "peers", "ipns":
		return rest != ""
	case "dht":
		return strings.HasPrefix(rest, "closest/peers/")
	}
	return false
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, status int, reason string) {
	h.fail(w, r, &refusal{status, reason})
}

// fail answers an error. What failed behind this server is not told to everybody.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) int {
	status := statusOf(err)
	var no *refusal
	reason := "the index failed to answer"
	switch {
	case errors.As(err, &no):
		reason = no.reason
	case status == http.StatusGatewayTimeout:
		reason = "the index did not answer in time"
	}
	if status >= http.StatusBadGateway {
		h.warn(r, "lookup failed", err)
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", never)
	header.Set("Vary", "Accept")
	header.Set("Content-Length", strconv.Itoa(len(reason)+1))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintln(w, reason)
	}
	return status
}

func (h *Handler) warn(r *http.Request, text string, err error) {
	if h.o.Logger != nil && r.Context().Err() == nil {
		h.o.Logger.LogAttrs(r.Context(), slog.LevelWarn, text, slog.Any("error", err))
	}
}

// question is what a request asks for.
type question struct {
	mh     multihash.Multihash
	filter filter.Filter
	form   form
}

func parse(r *http.Request, name string) (q question, err error) {
	if q.form = negotiate(r.Header.Values("Accept")); q.form == formNone {
		return q, &refusal{http.StatusNotAcceptable, "to be had are " + typeJSON + " and " + typeLines}
	}
	if len(name) > maxCID || len(r.URL.RawQuery) > maxQuery {
		return q, &refusal{http.StatusUnprocessableEntity, "the CID or the filter is too long"}
	}
	c, err := cid.Decode(name)
	if err != nil {
		return q, &refusal{http.StatusUnprocessableEntity, "not a CID"}
	}
	q.mh = c.Hash()
	if q.filter, err = filter.Parse(r.URL.Query()); err != nil {
		err = &refusal{http.StatusUnprocessableEntity, err.Error()}
	}
	return q, err
}

func (h *Handler) lookup(w http.ResponseWriter, r *http.Request, name string) {
	began := time.Now()
	a := &answer{h: h, w: w, head: r.Method == http.MethodHead}
	q, err := parse(r, name)
	if err == nil {
		ctx, cancel := r.Context(), context.CancelFunc(func() {})
		if h.o.Timeout > 0 {
			ctx, cancel = context.WithTimeout(ctx, h.o.Timeout)
		}
		a.form, a.records = q.form, newRecords(q.filter)
		err = a.run(ctx, h.finder, q.mh)
		cancel()
	}
	status := http.StatusOK
	switch {
	case err != nil && !a.sent:
		status = h.fail(w, r, err)
	case err != nil:
		h.warn(r, "answer cut", err)
	case a.lacks != nil:
		h.warn(r, "answer incomplete", a.lacks)
	}
	if h.o.Done != nil {
		d := Done{Status: status, Records: a.written, Elapsed: time.Since(began), Err: cmp.Or(err, a.lacks)}
		if !a.first.IsZero() {
			d.First = a.first.Sub(began)
		}
		h.o.Done(r, d)
	}
	if err != nil && a.sent {
		panic(http.ErrAbortHandler)
	}
}
