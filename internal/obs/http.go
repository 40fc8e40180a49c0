package obs

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// HandlerOptions are the settings of [Handler].
type HandlerOptions struct {
	// Tracer starts a span for each request. Default: none.
	Tracer *Tracer
	// Access receives a line for each request. Default: none.
	Access *slog.Logger
	// BucketRequests is told how many requests to buckets a response needed, as
	// [Metrics.BucketRequest] counts them. Default: nothing is counted.
	BucketRequests func(n int64)
	// Client names who asks, for the access log. Default: the connection's address.
	Client func(*http.Request) string
}

// Handler gives each request an id: the client's X-Request-Id if it is well formed,
// else a new one. It stands in the context, in the response's header and in what is
// logged with the context. As the options say, it also traces and logs requests.
//
// The response writer that next gets implements [io.ReaderFrom] exactly if the
// server's does, so that files are still sent without copying.
func Handler(next http.Handler, o *HandlerOptions) http.Handler {
	if o == nil {
		o = &HandlerOptions{}
	}
	h := &handler{next: next, options: *o}
	if h.options.Client == nil {
		h.options.Client = remoteHost
	}
	return h
}

type handler struct {
	next    http.Handler
	options HandlerOptions
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r.Header.Get("X-Request-Id"))
	w.Header().Set("X-Request-Id", id)
	ctx := WithRequestID(r.Context(), id)
	if h.options.BucketRequests != nil {
		counted, n := withBucketCount(ctx)
		ctx = counted
		defer func() { h.options.BucketRequests(n.Load()) }()
	}
	if h.options.Tracer == nil && h.options.Access == nil {
		h.next.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	start := time.Now()
	ctx, span := h.options.Tracer.request(ctx, r)
	r = r.WithContext(ctx)
	rec, wrapped := record(w)
	whole := false
	// Deferred, because an aborted response unwinds as a panic.
	defer func() {
		span.end(r, rec, whole)
		h.log(ctx, r, rec, time.Since(start), whole)
	}()
	h.next.ServeHTTP(wrapped, r)
	whole = true
}

// maxLogged bounds what a client can write into a line of the log, in bytes a field.
const maxLogged = 512

func (h *handler) log(ctx context.Context, r *http.Request, rec *recorder, d time.Duration, whole bool) {
	if h.options.Access == nil {
		return
	}
	attrs := make([]slog.Attr, 0, 10)
	attrs = append(attrs,
		slog.String("method", clip(r.Method)), slog.String("uri", clip(r.URL.RequestURI())), slog.Int("status", rec.code()),
		slog.Int64("bytes", rec.bytes), slog.Duration("duration", d), slog.String("client", h.options.Client(r)),
		slog.String("proto", r.Proto), slog.String("user_agent", clip(r.UserAgent())))
	if !whole {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	h.options.Access.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
}

func clip(s string) string { return s[:min(len(s), maxLogged)] }

func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// recorder notes the status and counts the bytes of a response.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

// readerFromRecorder is the recorder of a writer that has ReadFrom.
type readerFromRecorder struct{ *recorder }

// record wraps w. The second result implements io.ReaderFrom exactly if w does.
func record(w http.ResponseWriter) (*recorder, http.ResponseWriter) {
	rec := &recorder{ResponseWriter: w}
	if _, ok := w.(io.ReaderFrom); ok {
		return rec, readerFromRecorder{rec}
	}
	return rec, rec
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= 200 { // 1xx are not the answer
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// ReadFrom hands src on as it is: the server recognizes files in it.
func (r readerFromRecorder) ReadFrom(src io.Reader) (int64, error) {
	n, err := r.ResponseWriter.(io.ReaderFrom).ReadFrom(src)
	r.bytes += n
	return n, err
}

// Flush sends what is buffered.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }

// Unwrap lets [http.ResponseController] reach the server's writer.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// code is the status that the client saw.
func (r *recorder) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}
