package slurm

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are what the backend shows of itself. Labels: a call of a control, and the states in which jobs end.
type metrics struct {
	calls   *prometheus.HistogramVec
	failed  *prometheus.CounterVec
	watched prometheus.Gauge
	ends    *prometheus.CounterVec
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	auto := promauto.With(registerer) // nil is none
	return &metrics{
		calls: auto.NewHistogramVec(prometheus.HistogramOpts{
			Name: "dspy_orchestrator_slurm_call_seconds", Help: "Duration of a call to Slurm, whatever it came to.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"call"}),
		failed: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "dspy_orchestrator_slurm_calls_failed_total", Help: "Calls to Slurm that failed, refusals included.",
		}, []string{"call"}),
		watched: auto.NewGauge(prometheus.GaugeOpts{
			Name: "dspy_orchestrator_slurm_jobs_watched", Help: "Jobs that an attempt waits for.",
		}),
		ends: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "dspy_orchestrator_slurm_jobs_ended_total", Help: "Jobs that ended, by the state that Slurm gave them.",
		}, []string{"state"}),
	}
}

// measured is a control whose calls are counted.
type measured struct {
	control
	metrics *metrics
}

func (m *measured) note(call string, begun time.Time, err error) {
	m.metrics.calls.WithLabelValues(call).Observe(time.Since(begun).Seconds())
	if err != nil {
		m.metrics.failed.WithLabelValues(call).Inc()
	}
}

func (m *measured) submit(ctx context.Context, s submission) (id int64, err error) {
	defer func(begun time.Time) { m.note("submit", begun, err) }(time.Now())
	return m.control.submit(ctx, s)
}

func (m *measured) find(ctx context.Context, name string) (jobs []job, err error) {
	defer func(begun time.Time) { m.note("find", begun, err) }(time.Now())
	return m.control.find(ctx, name)
}

func (m *measured) status(ctx context.Context, ids []int64) (states map[int64][]job, err error) {
	defer func(begun time.Time) { m.note("status", begun, err) }(time.Now())
	return m.control.status(ctx, ids)
}

func (m *measured) cancel(ctx context.Context, id int64) (err error) {
	defer func(begun time.Time) { m.note("cancel", begun, err) }(time.Now())
	return m.control.cancel(ctx, id)
}
