package telemetry_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"dspyagent.io/orchestrator/internal/telemetry"
)

// receiver is a small receiver of OTLP over HTTP.
type receiver struct {
	mu       sync.Mutex
	spans    map[string]*otlp.Span
	resource string
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var sent collector.ExportTraceServiceRequest
	if err != nil || proto.Unmarshal(body, &sent) != nil || req.URL.Path != "/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range sent.ResourceSpans {
		r.resource = of.Resource.String()
		for _, scope := range of.ScopeSpans {
			for _, span := range scope.Spans {
				r.spans[span.Name] = span
			}
		}
	}
}

// exporting sends spans to a receiver until flush.
func exporting(t *testing.T) (got *receiver, flush func()) {
	t.Helper()
	got = &receiver{spans: map[string]*otlp.Span{}}
	server := httptest.NewServer(got)
	t.Cleanup(server.Close)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL)
	getenv := func(name string) string { return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": server.URL}[name] }
	end, err := telemetry.Export(context.Background(), "orchestrator", "0.1.0", getenv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return got, func() {
		if err := end(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestAnAttemptContinuesTheTraceOfItsRequest(t *testing.T) {
	got, flush := exporting(t)
	from := http.Header{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	ctx, request := telemetry.Begin(telemetry.Remote(context.Background(), from), "POST /v1/tasks", trace.SpanKindServer)
	enqueuing, enqueue := telemetry.Begin(ctx, "enqueue", trace.SpanKindProducer, attribute.Int("dspyagent.tasks", 1))
	stored := telemetry.Traceparent(enqueuing)
	telemetry.End(enqueue, nil)
	telemetry.End(request, nil)

	// Another process, a while later, within a trace of its own.
	elsewhere, other := telemetry.Begin(context.Background(), "lead", trace.SpanKindInternal)
	running, attempt := telemetry.BeginAttempt(elsewhere, stored, "the-id", 2, 17)
	call := http.Header{}
	telemetry.Inject(running, call)
	telemetry.End(attempt, errors.New("the runner left"))
	telemetry.End(other, nil)
	flush()

	hexa := func(id []byte) string { return hex.EncodeToString(id) }
	for name, parent := range map[string]string{
		"POST /v1/tasks": "b7ad6b7169203331", "enqueue": hexa(got.spans["POST /v1/tasks"].GetSpanId()), "attempt": hexa(got.spans["enqueue"].GetSpanId()),
	} {
		span := got.spans[name]
		if span == nil || hexa(span.TraceId) != "0af7651916cd43dd8448eb211c80319c" || hexa(span.ParentSpanId) != parent {
			t.Errorf("%s: %v; want it below %s", name, span, parent)
		}
	}
	if span := got.spans["attempt"]; span.GetStatus().GetMessage() != "the runner left" || !strings.Contains(span.String(), "the-id") {
		t.Errorf("attempt: %v", span)
	}
	if lead := got.spans["lead"]; hexa(lead.GetTraceId()) == "0af7651916cd43dd8448eb211c80319c" {
		t.Error("a trace of its own was taken for the task's")
	}
	if sent := call.Get("Traceparent"); !strings.Contains(sent, hexa(got.spans["attempt"].GetSpanId())) {
		t.Errorf("the runner is called with %q", sent)
	}
	if !strings.Contains(got.resource, "orchestrator") {
		t.Errorf("resource %s", got.resource)
	}
}

func TestWithoutAReceiverThereIsOnlyPropagation(t *testing.T) {
	end, err := telemetry.Export(context.Background(), "orchestrator", "0.1.0", func(string) string { return "" }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	parent := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	ctx, span := telemetry.BeginAttempt(context.Background(), parent, "id", 1, 1)
	if got := telemetry.Traceparent(ctx); len(got) != 55 || got == parent || !strings.HasPrefix(got, parent[:36]) || span.IsRecording() {
		t.Errorf("traceparent %q, recording %v", got, span.IsRecording())
	}
	telemetry.End(span, errors.New("x"))
	if err := end(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestAReceiverThatIsAwayIsLoggedAndNoMore(t *testing.T) {
	var out bytes.Buffer
	away := "http://127.0.0.1:1"
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away)
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")
	getenv := func(string) string { return away }
	end, err := telemetry.Export(context.Background(), "orchestrator", "0.1.0", getenv, telemetry.NewLogger(&out, slog.LevelInfo))
	if err != nil {
		t.Fatal(err)
	}
	_, span := telemetry.Begin(context.Background(), "x", trace.SpanKindInternal)
	telemetry.End(span, nil)
	if err := end(context.Background()); err == nil && !strings.Contains(out.String(), "spans were not sent") {
		t.Errorf("nobody learns of it: %s", out.String())
	}
}
