package storehttp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/mr-tron/base58"
	"github.com/multiformats/go-multihash"

	"github.com/hashstream/hashstream/ipni"
	"github.com/hashstream/hashstream/ipni/cluster"
	"github.com/hashstream/hashstream/ipni/dhash"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/internal/body"
	"github.com/hashstream/hashstream/ipni/ipnihttp/storehttp/merges"
	"github.com/hashstream/hashstream/ipni/ipnihttp/wire"
	"github.com/hashstream/hashstream/ipni/valuestore"
)

// Defaults and fixed limits.
const (
	defaultBody   = 256 << 20
	defaultMemory = 256 << 20
	defaultIdle   = 30 * time.Second
	defaultStall  = 5 * time.Minute
	maxSmall      = 16 << 10 // bytes of a request that is one thing
	maxName       = 512      // bytes of a name in a path
	sendBytes     = 256 << 10
)

// Options adjusts a [Handler]. A nil Options or a zero field means the default.
type Options struct {
	// Authorize returns an error for who may not do what a request asks for: a [wire.Error]
	// with the status to answer, anything else for 403. Default: nobody may do anything.
	Authorize func(*http.Request) error
	// Exporter yields the records of a key in the order of their values, those of a value in that
	// of their groups, as package local does. Default: there are no exports.
	Exporter cluster.Exporter
	Reads    http.Handler // gets requests that are none of records, such as an ipnihttp.Handler; default: 404
	MaxBody  int64        // bytes of a request, compressed and not; default 256 MiB
	// Memory is what all requests that write hold at most while their bodies come, in bytes, beside what
	// the store makes of them: 8 MiB for frames, or less if they are small, and 1.25 MiB for JSON. Others wait
	// 5 s, and are answered 503 then. Default 256 MiB.
	Memory int64
	Idle   time.Duration // longest time without a byte of a request; default 30 s, negative means none
	Stall  time.Duration // longest time for which an answer in frames waits for its reader; default 5 min, negative means none
	Logger *slog.Logger  // faults of the server; default none
	Done   func(*http.Request, Done)
}

// Done is how a request ended.
type Done struct {
	Route   string // such as "multihash"
	Binary  bool   // frames rather than JSON
	Status  int
	Bytes   int64 // of records
	Elapsed time.Duration
}

// Handler gives others access to a store.
type Handler struct {
	store   ipni.SealedStore
	o       Options
	parsers sync.Pool // of *merges.Reader
	bodies  *body.Bodies
}

// New returns a Handler of store.
func New(store ipni.SealedStore, o *Options) *Handler {
	h := &Handler{store: store}
	if o != nil {
		h.o = *o
	}
	if h.o.MaxBody == 0 {
		h.o.MaxBody = defaultBody
	}
	if h.o.Idle == 0 {
		h.o.Idle = defaultIdle
	}
	if h.o.Stall == 0 {
		h.o.Stall = defaultStall
	}
	if h.o.Memory <= 0 {
		h.o.Memory = defaultMemory
	}
	h.bodies = body.New(MediaType, h.o.Idle, h.o.Memory)
	h.parsers.New = func() any { return new(merges.Reader) }
	return h
}

const (
	writeMethods  = "PUT, DELETE, OPTIONS"
	putMethods    = "PUT, OPTIONS"
	deleteMethods = "DELETE, OPTIONS"
	postMethods   = "POST, OPTIONS"
	getMethods    = "GET, OPTIONS"
)

// ServeHTTP answers one request. It panics with [http.ErrAbortHandler] to cut an export
// that cannot be completed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	dir, name, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/encrypted"), "/"), "/")
	reading := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case dir == "multihash" && name != "" && r.Method == http.MethodGet && r.Header.Get("Accept") == MediaType:
		h.allowed(w, r, "values", getMethods, func(x *exchange) error { return h.values(x, name) })
	case dir == "multihash" && name == "" && r.Method != http.MethodPost && (!reading || h.o.Reads == nil):
		h.allowed(w, r, "multihash", writeMethods, h.records)
	case dir == "metadata" && name == "":
		h.allowed(w, r, "metadata", putMethods, h.putMetadata)
	case dir == "metadata" && (!reading || h.o.Reads == nil):
		h.allowed(w, r, "metadata", deleteMethods, func(x *exchange) error { return h.deleteMetadata(x, name) })
	case dir == "remove" && name == "":
		h.allowed(w, r, "remove", postMethods, h.remove)
	case dir == "partition" && h.o.Exporter != nil:
		h.allowed(w, r, "partition", getMethods, func(x *exchange) error { return h.export(x, name) })
	case h.o.Reads != nil:
		h.o.Reads.ServeHTTP(w, r)
	default:
		wire.WriteError(w, r, http.StatusNotFound, wire.Refuse(http.StatusNotFound, "no such route"), nil)
	}
}

// exchange is a request under way.
type exchange struct {
	w      http.ResponseWriter
	r      *http.Request
	done   Done
	status int    // of success
	back   func() // gives back the room of the body, if there is one
}

// allowed checks method and credentials, and answers what f returns.
func (h *Handler) allowed(w http.ResponseWriter, r *http.Request, route, methods string, f func(*exchange) error) {
	if !wire.Allow(w, r, methods, strings.Split(strings.TrimSuffix(methods, ", OPTIONS"), ", ")...) {
		return
	}
	x := &exchange{w: w, r: r, done: Done{Route: route}, status: http.StatusAccepted}
	defer func() {
		if x.back != nil {
			x.back()
		}
	}()
	began := time.Now()
	err := h.authorize(r)
	if err == nil {
		err = f(x)
	}
	if x.status = statusOf(err, x.status); err != nil {
		wire.WriteError(w, r, x.status, err, h.o.Logger)
	} else if x.status != http.StatusOK {
		w.WriteHeader(x.status)
	}
	if h.o.Done != nil {
		x.done.Status, x.done.Elapsed = x.status, time.Since(began)
		h.o.Done(r, x.done)
	}
}

// statusOf returns the status of an answer. Nothing here can be absent, so that a file that a
// store has lost is a failure. Of what the store says, only these concern who asks: that what it was
// given is invalid, that its mode cannot do that, and that it may be asked later.
func statusOf(err error, success int) int {
	status := wire.StatusOf(err)
	if status == http.StatusOK {
		return success
	}
	if s := (stored{}); errors.As(err, &s) {
		switch {
		case status == http.StatusGatewayTimeout, status == http.StatusServiceUnavailable, status == http.StatusInsufficientStorage,
			status == http.StatusBadRequest, status == http.StatusNotImplemented:
			return status
		case errors.Is(err, cluster.ErrUnavailable):
			return http.StatusServiceUnavailable
		}
		return http.StatusInternalServerError
	}
	if status == http.StatusNotFound {
		return http.StatusInternalServerError
	}
	return status
}

func (h *Handler) authorize(r *http.Request) error {
	if h.o.Authorize == nil {
		return wire.Refuse(http.StatusForbidden, "this server takes no records")
	}
	err := h.o.Authorize(r)
	if err != nil && wire.StatusOf(err) == http.StatusInternalServerError {
		err = wire.Refuse(http.StatusForbidden, "not allowed")
	}
	return err
}

// values answers the encrypted value keys of a second hash, as frames.
func (h *Handler) values(x *exchange, name string) error {
	if len(name) > maxName {
		return wire.Refuse(http.StatusBadRequest, "a name of %d bytes", len(name))
	}
	mh, err := base58.Decode(name)
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "not a multihash in base58")
	}
	key, err := dhash.ParseKey(multihash.Multihash(mh))
	if err != nil {
		return wire.Refuse(http.StatusBadRequest, "not a dbl-sha2-256 multihash")
	}
	x.status, x.done.Binary = http.StatusOK, true
	s := h.newSender(x)
	var records valuestore.Records
	for v, err := range h.store.ValueKeys(x.r.Context(), key) {
		if err != nil {
			return s.broken(wire.LookupStatus(err), err)
		}
		if records = records.Append(key, v); len(records) >= sendBytes {
			if err := s.send(Frame{Kind: Values, Records: records}); err != nil {
				return nil // the client is gone
			}
			records = records[:0]
		}
	}
	return s.finish(Frame{Kind: Values, Records: records})
}

// sender writes frames as an answer, none before there is one.
type sender struct {
	x      *exchange
	frames *Writer
	stall  time.Duration
	sent   bool
}

func (h *Handler) newSender(x *exchange) *sender {
	return &sender{x: x, frames: NewWriter(x.w), stall: h.o.Stall}
}

// errGone is a reader that takes no more.
var errGone = errors.New("storehttp: the client is gone")

func (s *sender) send(f Frame) error {
	if !s.sent {
		s.sent = true
		s.x.w.Header().Set("Content-Type", MediaType)
		s.x.w.Header().Set("Cache-Control", "no-store")
	}
	s.x.done.Bytes += int64(len(f.Records))
	if s.stall > 0 {
		http.NewResponseController(s.x.w).SetWriteDeadline(time.Now().Add(s.stall)) // writers without deadlines have none
	}
	if err := s.frames.Write(f); err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// broken is a failure before or, which cuts the answer, after the first byte.
func (s *sender) broken(status int, err error) error {
	if s.sent {
		panic(http.ErrAbortHandler)
	}
	return &failed{&wire.Error{Status: status}, err}
}

// failed is an error with a status of its own.
type failed struct {
	status *wire.Error
	cause  error
}

func (e *failed) Error() string   { return e.cause.Error() }
func (e *failed) Unwrap() []error { return []error{e.status, e.cause} }

// finish writes the end. Whoever is gone is gone. The server itself takes deadlines back between
// requests.
func (s *sender) finish(f Frame) error {
	if err := s.send(f); err == nil {
		s.frames.Close()
	}
	return nil
}
