package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// tracer makes spans that are sent; nil while none are.
var tracer atomic.Pointer[trace.Tracer]

// Export sends the spans of this process from now on, when OTEL_EXPORTER_OTLP_ENDPOINT or
// OTEL_EXPORTER_OTLP_TRACES_ENDPOINT names a receiver of OTLP over HTTP; the SDK reads its other variables too
// (OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, …). flush sends what is left and ends it.
func Export(ctx context.Context, service, version string, getenv func(string) string, log *slog.Logger) (flush func(context.Context) error, err error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return func(context.Context) error { return nil }, nil
	}
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	described, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version),
	), resource.WithHost(), resource.WithFromEnv(), resource.WithTelemetrySDK())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		log.Warn("spans were not sent", "component", "telemetry", "error", err)
	}))
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter), sdk.WithResource(described))
	made := provider.Tracer("dspyagent.io/orchestrator")
	tracer.Store(&made)
	return func(ctx context.Context) error {
		tracer.Store(nil)
		return provider.Shutdown(ctx)
	}, nil
}

// Begin begins a span within that of ctx, or at the root of a trace. Without Export it has an id to pass on, no more.
// End it with End.
func Begin(ctx context.Context, name string, kind trace.SpanKind, attrs ...attribute.KeyValue) (context.Context, trace.Span) {
	if t := tracer.Load(); t != nil {
		return (*t).Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	}
	ctx = next(trace.SpanContextFromContext(ctx), ctx)
	return ctx, trace.SpanFromContext(ctx)
}

// BeginAttempt begins the span of one attempt at a task, in the trace of the request that enqueued it.
func BeginAttempt(ctx context.Context, traceparent, id string, number int, token int64) (context.Context, trace.Span) {
	return Begin(Stored(ctx, traceparent), "attempt", trace.SpanKindConsumer, attribute.String("dspyagent.task.id", id),
		attribute.Int("dspyagent.task.attempt", number), attribute.Int64("dspyagent.task.token", token))
}

// End ends a span, failed when err is not nil.
func End(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
