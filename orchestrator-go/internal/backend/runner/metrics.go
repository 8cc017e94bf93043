package runner

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics are the pool's own; nil counts nothing.
type Metrics struct {
	workspaces *prometheus.CounterVec
	openings   prometheus.Counter
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	auto := promauto.With(reg)
	return &Metrics{
		workspaces: auto.NewCounterVec(prometheus.CounterOpts{
			Name: "dspy_orchestrator_workspaces_total",
			Help: "Attempts whose runner held their workspace (held), and copies to runners that did not (copied, failed).",
		}, []string{"outcome"}),
		openings: auto.NewCounter(prometheus.CounterOpts{
			Name: "dspy_orchestrator_circuit_openings_total", Help: "Times that a runner's circuit breaker opened.",
		}),
	}
}

func (m *Metrics) workspace(outcome string) {
	if m != nil {
		m.workspaces.WithLabelValues(outcome).Inc()
	}
}

func (m *Metrics) opened() {
	if m != nil {
		m.openings.Inc()
	}
}
