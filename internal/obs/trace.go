package obs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// TracerOptions are the settings of [NewTracer].
type TracerOptions struct {
	// Endpoint is the URL of an OTLP collector. Without a path, /v1/traces is asked.
	// Empty: no traces.
	Endpoint string
	// SampleRatio is the share of traces, from 0 to 1, that are recorded if the
	// client did not decide.
	SampleRatio float64
	// Version is the program's.
	Version string
	// Logger is told when spans cannot be delivered. Default: none.
	Logger *slog.Logger
}

// Tracer records spans and sends them to a collector. A nil Tracer records none.
type Tracer struct {
	provider   *sdktrace.TracerProvider
	tracer     trace.Tracer
	propagator propagation.TraceContext
}

// NewTracer returns a tracer, or nil if no endpoint is set. It sends in the
// background and drops spans rather than wait. The caller calls Shutdown.
func NewTracer(ctx context.Context, o TracerOptions) (*Tracer, error) {
	if o.Endpoint == "" {
		return nil, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("obs: trace endpoint: %w", err)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("obs: trace exporter: %w", err)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&exportLogger{SpanExporter: exporter, logger: o.Logger}),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.SampleRatio))),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", namespace), attribute.String("service.version", o.Version))))
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/hashstream/hashstream")}, nil
}

// exportLogger logs failures, which the SDK would give to a global handler. The
// SDK calls it from one goroutine.
type exportLogger struct {
	sdktrace.SpanExporter
	logger *slog.Logger
	failed bool
}

func (e *exportLogger) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil && !e.failed { // once per outage
		e.logger.Warn("traces cannot be delivered", "error", err)
	}
	e.failed = err != nil
	return nil
}

// Shutdown sends what is left and ends the tracer.
func (t *Tracer) Shutdown(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("obs: end traces: %w", err)
	}
	return nil
}

// Start begins a span below that of ctx. The caller calls end once, with the
// outcome.
func (t *Tracer) Start(ctx context.Context, name string) (_ context.Context, end func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	ctx, span := t.tracer.Start(ctx, name)
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

// requestSpan is the span of a request; without a tracer it does nothing.
type requestSpan struct{ span trace.Span }

// request begins the span of r, as a child of the client's if it sent one.
func (t *Tracer) request(ctx context.Context, r *http.Request) (context.Context, requestSpan) {
	if t == nil {
		return ctx, requestSpan{}
	}
	ctx = t.propagator.Extract(ctx, propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, method(r), trace.WithSpanKind(trace.SpanKindServer))
	return ctx, requestSpan{span}
}

// end records the outcome. The names are those of the semantic conventions for HTTP.
func (s requestSpan) end(r *http.Request, rec *recorder, whole bool) {
	if s.span == nil {
		return
	}
	if s.span.IsRecording() {
		if r.Pattern != "" { // the mux has set it meanwhile
			s.span.SetName(r.Pattern)
			s.span.SetAttributes(attribute.String("http.route", r.Pattern))
		}
		s.span.SetAttributes(
			attribute.String("http.request.method", method(r)),
			attribute.String("url.path", clip(r.URL.Path)),
			attribute.String("network.protocol.version", strings.TrimPrefix(r.Proto, "HTTP/")),
			attribute.Int("http.response.status_code", rec.code()),
			attribute.Int64("http.response.body.size", rec.bytes),
			attribute.String("hashstream.request_id", RequestID(r.Context())))
		if !whole {
			s.span.SetStatus(codes.Error, "the response was aborted")
		} else if rec.code() >= 500 {
			s.span.SetStatus(codes.Error, http.StatusText(rec.code()))
		}
	}
	s.span.End()
}

// method is r's method, if it is one that names of spans may have.
func method(r *http.Request) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodDelete:
		return r.Method
	}
	return "_OTHER"
}
