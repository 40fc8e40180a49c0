// Package gateway serves content by its hash over HTTP: the trustless gateway
// (https://specs.ipfs.tech/http-gateways/trustless-gateway/, revision of
// 2026-03-05), in which every answer can be verified by whoever receives it.
//
//	GET|HEAD /ipfs/{cid}              one block (raw), or a DAG (CAR)
//	GET|HEAD /ipfs/{cid}?format=bao   a BLAKE3 blob of any size, or a range of it, with its proof
//	GET|HEAD /ipfs/{cid}/{path}       a DAG below a path (CAR)
//	GET|HEAD /ipns/{key}              a name record (404 until names are served)
//	GET|HEAD /.well-known/libp2p/protocols
//
// A [Handler] speaks HTTP and knows no storage. It turns a request into a
// [block.Selection], asks a [block.Opener] for a [block.Body] and sends it. The
// writer that a body sees implements [io.ReaderFrom] wherever the server's does,
// so that ranges of files go out by sendfile.
//
// Mount a Handler at the root of a server, not below an [http.ServeMux]: the mux
// redirects paths with empty, "." and ".." segments, which are names here.
// [ConcurrencyLimit] and [RateLimit] go around it. Set
// [http.Server.ReadHeaderTimeout] and leave WriteTimeout at zero: stalled
// readers are ended by [Options].IdleTimeout, slow ones are not.
//
// # Errors
//
// [StatusOf] maps errors to statuses and [ErrorOf] maps them back for clients.
// A failure before the first byte is a plain-text answer that is never cached. A
// failure after it ends the connection (HTTP/1) or the stream (HTTP/2): a cut
// answer never looks whole.
//
// A Handler is safe for concurrent use if its Opener is.
package gateway

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hashstream/hashstream/block"
)

// Defaults and fixed limits.
const (
	defaultIdle     = 30 * time.Second
	defaultURL      = 8 << 10
	defaultSegments = 128
	maxFilename     = 255 // bytes of the filename parameter
)

// Options adjusts a [Handler]. A nil Options or a zero field means the default.
type Options struct {
	Trace       *Trace        // hooks that see each request; default none
	Logger      *slog.Logger  // faults of the server and cut answers; default none
	IdleTimeout time.Duration // longest time without progress in writing; default 30 s, negative means none
	MaxURL      int           // longest path and query in bytes, beyond it 414; default 8 KiB
	MaxSegments int           // most path segments below a CID, beyond it 400; default 128
}

// Handler is the trustless gateway as an [http.Handler].
type Handler struct {
	content  block.Opener
	trace    Trace
	log      *slog.Logger
	idle     time.Duration
	maxURL   int
	segments int
	fixed    fixedHeaders
	buffers  sync.Pool // of *[]byte, for writers without ReadFrom
}

// New returns a Handler that serves content.
func New(content block.Opener, o *Options) *Handler {
	if o == nil {
		o = &Options{}
	}
	h := &Handler{
		content:  content,
		log:      o.Logger,
		idle:     o.IdleTimeout,
		maxURL:   o.MaxURL,
		segments: o.MaxSegments,
		fixed:    newFixedHeaders(),
	}
	h.buffers.New = func() any { b := make([]byte, copyBuffer); return &b }
	if o.Trace != nil {
		h.trace = *o.Trace
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	if h.idle == 0 {
		h.idle = defaultIdle
	}
	if h.maxURL == 0 {
		h.maxURL = defaultURL
	}
	if h.segments == 0 {
		h.segments = defaultSegments
	}
	return h
}

// ServeHTTP answers one request. It panics with [http.ErrAbortHandler] to cut an
// answer that cannot be completed.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := &exchange{h: h, w: w, r: r, header: w.Header()}
	if h.trace.Start != nil {
		h.trace.Start(r)
	}
	if h.trace.Done != nil {
		x.began = time.Now()
		defer x.done()
	}
	if err := x.serve(); err != nil {
		x.fail(err)
	}
}
