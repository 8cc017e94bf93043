package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

const probeTimeout = 2 * time.Second

// Probes serves /healthz (the process answers) and /readyz (ready returns nil).
func Probes(mux *http.ServeMux, ready func(context.Context) error, log *slog.Logger) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		if err := ready(ctx); err != nil {
			log.WarnContext(ctx, "not ready", "component", "httpapi", "error", err)
			write(w, fail(http.StatusServiceUnavailable, "NotReady", "The orchestrator cannot take tasks now; its log says why."))
			return
		}
		w.WriteHeader(http.StatusOK)
	})
}
