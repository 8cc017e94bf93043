package main

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"dspyagent.io/orchestrator/internal/dispatch"
)

const (
	statsEvery   = 2 * time.Second
	publishEvery = time.Second
	trimEvery    = 30 * time.Second
)

// observe registers what is read off the running parts at each scrape.
func (s *service) observe(d *dispatch.Dispatcher, places map[string]dispatch.Place) {
	auto := promauto.With(s.registry)
	s.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), scheduled{d, places},
	)
	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "dspy_orchestrator_healthy_runners", Help: "Env runners that passed their last check.",
	}, func() float64 {
		healthy, _ := s.pool.Healthy()
		return float64(healthy)
	})
}

// maintain keeps the queue's gauges and overview fresh, and its streams short, until ctx ends.
func (s *service) maintain(ctx context.Context, d *dispatch.Dispatcher) {
	tasks := promauto.With(s.registry).NewGaugeVec(prometheus.GaugeOpts{
		Name: "dspy_orchestrator_queue_tasks", Help: "Tasks in the store: those that have not ended, and dead letters.",
	}, []string{"stage"})
	p := &publisher{service: s, dispatcher: d}
	stats, publish, trim := time.NewTicker(statsEvery), time.NewTicker(publishEvery), time.NewTicker(trimEvery)
	defer stats.Stop()
	defer publish.Stop()
	defer trim.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-trim.C:
			err = s.trim(ctx)
		case <-stats.C:
			err = s.count(ctx, tasks)
		case <-publish.C:
			err = p.publish(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.log.Error("maintenance of the queue failed; trying again", "component", "main", "error", err)
		}
	}
}

func (s *service) trim(ctx context.Context) error {
	err := s.queue.Trim(ctx)
	if s.slurm != nil {
		err = errors.Join(err, s.slurm.Sweep(time.Now()))
	}
	return err
}

func (s *service) count(ctx context.Context, tasks *prometheus.GaugeVec) error {
	n, err := s.queue.Stats(ctx)
	if err != nil {
		return err
	}
	tasks.WithLabelValues("live").Set(float64(n.Live))
	tasks.WithLabelValues("dead").Set(float64(n.Dead))
	return nil
}
