package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hashstream/hashstream/kv"
)

// Command is something that a running node does when asked. What it writes to
// out reaches the asking process at once. The context ends when that goes away.
type Command func(ctx context.Context, args []byte, out io.Writer) error

// Options are the settings of a [Server].
type Options struct {
	// Status describes the node. Default: an empty Status.
	Status func() Status
	// Commands are what [Client.Do] can ask for, by name.
	Commands map[string]Command
	// Logger receives what goes wrong with connections. Default: none.
	Logger *slog.Logger
	// Grace is the time that running requests have to end when the server stops.
	// Default 5 s.
	Grace time.Duration
}

// Server answers on the control socket. It is an [http.Handler].
type Server struct {
	store   kv.Store
	options Options
	mux     *http.ServeMux
}

// NewServer returns a server of store.
func NewServer(store kv.Store, o *Options) *Server {
	s := &Server{store: store, mux: http.NewServeMux()}
	if o != nil {
		s.options = *o
	}
	if s.options.Status == nil {
		s.options.Status = func() Status { return Status{} }
	}
	if s.options.Logger == nil {
		s.options.Logger = slog.New(slog.DiscardHandler)
	}
	if s.options.Grace == 0 {
		s.options.Grace = 5 * time.Second
	}
	s.mux.HandleFunc("GET /status", s.status)
	s.mux.HandleFunc("POST /kv/get", answer(MaxKey, s.get))
	s.mux.HandleFunc("POST /kv/batch", answer(MaxBatch, s.batch))
	s.mux.HandleFunc("POST /kv/swap", answer(2*MaxValue+2*MaxKey, s.swap))
	s.mux.HandleFunc("POST /kv/scan", stream(s.scan))
	s.mux.HandleFunc("POST /do/{name}", stream(s.do))
	return s
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(versionHeader, version)
	s.mux.ServeHTTP(w, r)
}

// Serve answers on l until ctx ends, then lets running requests end within the
// grace time. It closes l and returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.options.Logger.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.options.Grace)
		defer cancel()
		if server.Shutdown(grace) != nil {
			_ = server.Close() // what is still running is cut off; the listener is closed already
		}
		stopped <- nil
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("control: serve: %w", err)
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.options.Status()) // the client has gone
}

// answer serves a request whose body and answer are small enough to be held.
func answer(limit int64, f func(ctx context.Context, body io.Reader) ([]byte, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		out, err := f(r.Context(), http.MaxBytesReader(w, r.Body, limit+binaryOverhead))
		if err != nil && !errors.Is(err, errConflict) {
			err = bodyError(err)
			http.Error(w, err.Error(), statusOf(err))
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if err != nil {
			w.WriteHeader(statusOf(err))
		}
		_, _ = w.Write(out) // the client has gone
	}
}

// binaryOverhead is more than the lengths and kinds of a single operation take.
const binaryOverhead = 64

// bodyError gives what reading a request's body can answer a status of its own.
func bodyError(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Errorf("control: request: %w", ErrTooLarge)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("control: request: %w: it is cut off", ErrMalformed)
	}
	return err
}

func (s *Server) get(ctx context.Context, body io.Reader) ([]byte, error) {
	key, err := io.ReadAll(body)
	if err == nil && len(key) > MaxKey {
		err = ErrTooLarge
	}
	if err != nil {
		return nil, err
	}
	return s.store.Get(ctx, key)
}

func (s *Server) batch(ctx context.Context, body io.Reader) ([]byte, error) {
	ops, err := newDecoder(body).ops()
	if err != nil {
		return nil, err
	}
	return nil, s.store.Batch(ctx, ops)
}

// swap answers errConflict with the current value, if the old one is no longer.
func (s *Server) swap(ctx context.Context, body io.Reader) ([]byte, error) {
	ask, err := newDecoder(body).swap()
	if err != nil {
		return nil, err
	}
	var current []byte
	err = s.store.Update(ctx, ask.key, func(old []byte) ([]byte, error) {
		if (old == nil) != (ask.old == nil) || !bytes.Equal(old, ask.old) {
			current = appendOptional(nil, old)
			return nil, errConflict
		}
		return ask.new, nil
	})
	return current, err
}

// stream serves a request whose answer is written in parts.
func stream(f func(r *http.Request, body io.Reader, w *output) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		out := &output{bufio.NewWriterSize(w, 32<<10), http.NewResponseController(w)}
		err := f(r, http.MaxBytesReader(w, r.Body, MaxValue), out)
		if err != nil {
			_, _ = out.parts.Write(appendError(nil, bodyError(err)))
		} else {
			_ = out.parts.WriteByte(tagEnd)
		}
		_ = out.parts.Flush() // the client has gone
	}
}

func (s *Server) scan(r *http.Request, body io.Reader, w *output) error {
	asked, err := newDecoder(body).scanRange()
	if err != nil {
		return err
	}
	var b []byte
	for pair, err := range s.store.Scan(r.Context(), asked) {
		if err != nil {
			return err
		}
		b = appendField(appendField(append(b[:0], tagData), pair.Key), pair.Value)
		if _, err := w.parts.Write(b); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) do(r *http.Request, body io.Reader, w *output) error {
	name := r.PathValue("name")
	command, ok := s.options.Commands[name]
	if !ok {
		return fmt.Errorf("control: do %.64q: %w", name, ErrNoCommand)
	}
	args, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	return command(r.Context(), args, w)
}

// output is the answer to a request, in parts.
type output struct {
	parts   *bufio.Writer
	control *http.ResponseController
}

// Write sends p at once, as parts of its own.
func (o *output) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		piece := p[n:min(n+MaxKey, len(p))]
		if _, err := o.parts.Write(appendField([]byte{tagData}, piece)); err != nil {
			return n, err
		}
		n += len(piece)
	}
	return n, errors.Join(o.parts.Flush(), o.control.Flush())
}

var _ http.Handler = (*Server)(nil)
