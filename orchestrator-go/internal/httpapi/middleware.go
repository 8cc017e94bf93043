package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"dspyagent.io/orchestrator/internal/telemetry"
)

const maxBody = 16 << 20

var requestIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// authenticated lets through who knows the token. Hashes are compared, so that
// neither content nor length shows in the time it takes.
func authenticated(token string, next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		got := sha256.Sum256([]byte(given))
		if !found || subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			write(w, fail(401, "Unauthorized", "Send the orchestrator's token as Authorization: Bearer <token>."))
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limited bounds a body whether or not it declares its length.
func limited(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			write(w, fail(413, "TooLarge", "The body is larger than 16 MiB; send fewer tasks at once."))
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody+1)
		next.ServeHTTP(w, r)
	})
}

// traced continues or begins a trace and names the request.
func (a *API) traced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := telemetry.WithTrace(r.Context(), r.Header)
		id := r.Header.Get("X-Request-Id")
		if !requestIDForm.MatchString(id) {
			id = uuid.NewString()
		}
		w.Header().Set("X-Request-Id", id)
		a.log.DebugContext(ctx, "request", "method", r.Method, "path", r.URL.Path, "request_id", id)
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
