package obs

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

// NewLogger returns a logger that writes to w. level is "debug", "info", "warn" or
// "error"; format "json" or "text". Records that are logged with the context of a
// request carry its id, and that of its trace.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("obs: log level: %w", err)
	}
	o := &slog.HandlerOptions{Level: least}
	switch format {
	case "json":
		return slog.New(contextHandler{slog.NewJSONHandler(w, o)}), nil
	case "text":
		return slog.New(contextHandler{slog.NewTextHandler(w, o)}), nil
	}
	return nil, fmt.Errorf("obs: log format %q is neither json nor text", format)
}

// contextHandler adds what the context knows.
type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, r slog.Record) error {
	if id := RequestID(ctx); id != "" {
		r.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}

type requestIDKey struct{}

// WithRequestID returns a context that carries id.
func WithRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

// RequestID returns the id that ctx carries, or "".
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// maxRequestID bounds an id that a client chose, in bytes.
const maxRequestID = 128

// requestID returns the client's id if it is harmless in logs and headers, or a new one.
func requestID(sent string) string {
	if sent == "" || len(sent) > maxRequestID {
		return rand.Text()
	}
	for _, c := range []byte(sent) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return rand.Text()
		}
	}
	return sent
}
