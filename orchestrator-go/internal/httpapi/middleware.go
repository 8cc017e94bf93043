package httpapi

import (
	"cmp"
	"net/http"
	"regexp"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"dspyagent.io/orchestrator/internal/telemetry"
)

const (
	maxBody = 16 << 20
	// maxBodies bounds what all requests together hold of their bodies: what is read takes several times its size.
	maxBodies = 8 * maxBody
	// smallBody is not counted.
	smallBody = 64 << 10
)

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// limited bounds a body whether or not it declares its length, and all bodies together. A GET's is not read, and does
// not count for as long as its stream of events is open. A POST's counts to the end: what was read of it is held.
func (a *API) limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			write(w, fail(413, "TooLarge", "The body is larger than 16 MiB; send fewer tasks at once."))
			return
		}
		size := r.ContentLength
		if size < 0 {
			size = maxBody
		}
		if r.Method == http.MethodPost && size > smallBody {
			if !a.bodies.TryAcquire(size) {
				write(w, failForNow(429, "Busy", "Too many large requests at once; send it again in a few seconds."))
				return
			}
			defer a.bodies.Release(size)
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody+1)
		next.ServeHTTP(w, r)
	})
}

// traced continues or begins a trace and names the request. routes knows the pattern that a request will match.
func (a *API) traced(routes *http.ServeMux, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, route := routes.Handler(r)
		ctx, span := telemetry.Begin(telemetry.Remote(r.Context(), r.Header), cmp.Or(route, r.Method), trace.SpanKindServer,
			attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path))
		defer span.End()
		id := r.Header.Get("X-Request-Id")
		if !requestIDForm.MatchString(id) {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", id)
		a.Log.DebugContext(ctx, "request", "method", r.Method, "path", r.URL.Path, "request_id", id)
		seen := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		began := time.Now()
		next.ServeHTTP(seen, r.WithContext(ctx))
		a.observe(route, seen, began)
		span.SetAttributes(attribute.Int("http.response.status_code", seen.status))
		if seen.status >= 500 {
			span.SetStatus(codes.Error, http.StatusText(seen.status))
		}
	})
}

// statusWriter remembers the status that was sent.
type statusWriter struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }
