package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"dspyagent.io/orchestrator/internal/telemetry"
)

// request is within the span of one that came with a traceparent.
func request(traceparent string) context.Context {
	ctx := telemetry.Remote(context.Background(), http.Header{"Traceparent": {traceparent}})
	ctx, _ = telemetry.Begin(ctx, "request", trace.SpanKindServer)
	return ctx
}

func TestLogLines(t *testing.T) {
	var out bytes.Buffer
	ctx := request("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	log := telemetry.NewLogger(&out, slog.LevelInfo).With("component", "test")
	log.DebugContext(ctx, "hidden")
	log.WarnContext(ctx, "shown", "n", 1)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("not one JSON line: %s", out.String())
	}
	for key, want := range map[string]any{
		"level": "warn", "msg": "shown", "component": "test", "n": 1.0, "trace_id": "0af7651916cd43dd8448eb211c80319c",
	} {
		if line[key] != want {
			t.Errorf("%s is %v, want %v", key, line[key], want)
		}
	}
	if line["ts"] == nil {
		t.Error("no ts")
	}
}

func TestARequestWithoutTraceGetsOne(t *testing.T) {
	for _, given := range []string{"", "00-zz-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01"} {
		if got := telemetry.Traceparent(request(given)); len(got) != 55 || got == given {
			t.Errorf("%q became %q", given, got)
		}
	}
}
