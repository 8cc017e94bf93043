package dispatch

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the dispatcher's own; labels are the classes and the terminal states.
type Metrics struct {
	wait     *prometheus.HistogramVec
	run      *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	finished *prometheus.CounterVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	auto := promauto.With(reg)
	buckets := prometheus.ExponentialBuckets(0.001, 2.5, 14) // 1 ms to 2.5 min
	return &Metrics{
		wait: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dspy_orchestrator_wait_seconds", Help: "From a task's creation to the start of an attempt.", Buckets: buckets,
		}, []string{"class"}),
		run: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dspy_orchestrator_run_seconds", Help: "Duration of an attempt.", Buckets: buckets,
		}, []string{"class"}),
		retries: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "dspy_orchestrator_retries_total", Help: "Attempts after the first.",
		}, []string{"class"}),
		finished: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "dspy_orchestrator_tasks_finished_total", Help: "Tasks that this process ended, by state; Dead among them.",
		}, []string{"class", "state"}),
	}
}
