package httpapi

import (
	"cmp"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

func (a *API) measure() {
	auto := promauto.With(a.Metrics)
	a.took = auto.NewHistogramVec(prometheus.HistogramOpts{
		Name: "dspy_orchestrator_http_request_seconds", Help: "Requests by route and status, streams of events excepted.",
		Buckets: []float64{.001, .005, .025, .1, .5, 2.5, 10},
	}, []string{"route", "status"})
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dspy_orchestrator_event_streams", Help: "Streams of tasks' events that are open.",
	}, a.watch.open)
}

// observe counts a request. Routes are patterns of ours: of paths that nothing serves there is one.
func (a *API) observe(route string, w *statusWriter, began time.Time) {
	if w.Header().Get("Content-Type") == eventStream && w.status == http.StatusOK {
		return
	}
	a.took.WithLabelValues(cmp.Or(route, "none"), strconv.Itoa(w.status)).Observe(time.Since(began).Seconds())
}
