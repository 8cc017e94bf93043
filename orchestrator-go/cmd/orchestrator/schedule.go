package main

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"dspyagent.io/orchestrator/internal/dispatch"
	sched "dspyagent.io/orchestrator/internal/schedule"
)

var (
	leadsDesc = prometheus.NewDesc("dspy_orchestrator_leads", "1 in the process that schedules, else 0.", nil, nil)
	depthDesc = prometheus.NewDesc("dspy_orchestrator_ready_tasks",
		"Tasks that may begin as soon as there is room; of the process that leads.", []string{"backend", "class"}, nil)
	inFlightDesc = prometheus.NewDesc("dspy_orchestrator_in_flight_tasks",
		"Attempts that run; of the process that leads.", []string{"backend", "class"}, nil)
	heldDesc = prometheus.NewDesc("dspy_orchestrator_held_tasks",
		"Tasks that wait for their time, a limit key or their children; of the process that leads.", []string{"for"}, nil)
	limitDesc = prometheus.NewDesc("dspy_orchestrator_limit_tasks",
		"Attempts that may run at once, of a class or, with an empty one, of the whole backend; of the process that leads.", []string{"backend", "class"}, nil)
)

// scheduled shows what the dispatcher schedules, when asked.
type scheduled struct {
	dispatcher *dispatch.Dispatcher
	places     map[string]dispatch.Place
}

// Describe implements prometheus.Collector.
func (s scheduled) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leadsDesc, depthDesc, inFlightDesc, heldDesc, limitDesc} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s scheduled) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	view, _, leads := s.dispatcher.Leading()
	if !leads {
		gauge(leadsDesc, 0) // and nothing else: limits are found by who uses them
		return
	}
	gauge(leadsDesc, 1)
	for name, place := range s.places {
		gauge(limitDesc, place.Limit.Limit(), name, "")
		for class, l := range place.Classes {
			gauge(limitDesc, l.Limit(), name, string(class))
		}
	}
	var held sched.Count
	for name, n := range view.Sum(func(s sched.Share) (string, bool) { return s.Backend + "/" + string(s.Class), true }) {
		backend, class, _ := strings.Cut(name, "/")
		gauge(depthDesc, n.Ready, backend, class)
		gauge(inFlightDesc, n.Running, backend, class)
		held.Delayed, held.Parked, held.Waiting = held.Delayed+n.Delayed, held.Parked+n.Parked, held.Waiting+n.Waiting
	}
	gauge(heldDesc, held.Delayed, "time")
	gauge(heldDesc, held.Parked, "limit_key")
	gauge(heldDesc, held.Waiting, "children")
}
