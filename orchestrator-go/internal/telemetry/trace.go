// Package telemetry writes logs, passes traces on, and sends spans where it is told to.
package telemetry

import (
	"context"
	"crypto/rand"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

const header = "traceparent"

var format = propagation.TraceContext{}

// Remote is ctx within the span that a request's headers name, if they do.
func Remote(ctx context.Context, h http.Header) context.Context {
	return format.Extract(ctx, propagation.HeaderCarrier(h))
}

// Stored is ctx within the span of a stored traceparent, in place of the one that it had.
func Stored(ctx context.Context, traceparent string) context.Context {
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContext{})
	return format.Extract(ctx, propagation.MapCarrier{header: traceparent})
}

// Traceparent is the W3C form of the trace in ctx.
func Traceparent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	format.Inject(ctx, carrier)
	return carrier.Get(header)
}

// Inject sets the header for a call made within the span of ctx.
func Inject(ctx context.Context, h http.Header) {
	format.Inject(ctx, propagation.HeaderCarrier(h))
}

func next(parent trace.SpanContext, ctx context.Context) context.Context {
	config := trace.SpanContextConfig{TraceID: parent.TraceID(), TraceFlags: parent.TraceFlags(), TraceState: parent.TraceState()}
	if !parent.IsValid() {
		config.TraceID = random[trace.TraceID]()
	}
	config.SpanID = random[trace.SpanID]()
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(config))
}

func random[T trace.TraceID | trace.SpanID]() T {
	var id T
	var bytes [16]byte
	rand.Read(bytes[:]) // never fails, by its documentation
	for i := range len(id) {
		id[i] = bytes[i]
	}
	return id
}
