package main

import (
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/backend/runner"
	"dspyagent.io/orchestrator/internal/backend/slurm"
	"dspyagent.io/orchestrator/internal/blobs"
	"dspyagent.io/orchestrator/internal/config"
	"dspyagent.io/orchestrator/internal/dispatch"
	"dspyagent.io/orchestrator/internal/kube"
	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/queue"
)

// firstLimit is where an adaptive limit begins, until the runners have said that they take more at once. What is begun and recorded at once shares the store's round trips and
// syncs, so that a low one costs throughput; runners with fewer places let the rest wait.
const firstLimit = 64

// cluster is the client of the cluster that we run in; nil where no setting needs one.
func cluster(c *config.Config, log *slog.Logger) (kube.Client, error) {
	if len(c.KubernetesAudiences) == 0 && !runner.NeedsKube(c.RunnerTargets) {
		return nil, nil
	}
	kube.LogTo(log)
	client, err := kube.InCluster()
	if err != nil {
		return nil, fmt.Errorf("--kubernetes-audiences and endpointslices in --runners: %w", err)
	}
	return client, nil
}

// authenticator knows who may send requests.
func authenticator(c *config.Config, client kube.Client, log *slog.Logger) (auth.Authenticator, error) {
	var chain auth.Chain
	if c.TokenFile != "" || c.TokensFile != "" {
		static, err := auth.NewStatic(c.TokenFile, c.TokensFile, log)
		if err != nil {
			return nil, fmt.Errorf("--token-file or --tokens-file: %w", err)
		}
		chain = append(chain, static)
	}
	if len(c.KubernetesAudiences) > 0 {
		chain = append(chain, auth.NewKubernetes(client, c.KubernetesAudiences...))
	}
	return chain, nil
}

// limits are those of the runners: of all attempts there, and of each class's.
type limits struct {
	all     limit.Limiter
	classes map[queue.Class]limit.Limiter
}

func newLimits(c *config.Config) (limits, error) {
	l := limits{classes: map[queue.Class]limit.Limiter{}}
	var err error
	if l.all, err = newLimiter(c); err != nil {
		return l, err
	}
	for _, class := range []queue.Class{queue.Interactive, queue.Short, queue.Long} {
		if l.classes[class], err = newLimiter(c); err != nil {
			return l, err
		}
	}
	return l, nil
}

func newLimiter(c *config.Config) (limit.Limiter, error) {
	o := limit.Defaults()
	o.Max, o.Initial = c.Workers, min(c.Workers, firstLimit)
	switch c.Limiter {
	case "vegas":
		return limit.NewVegas(o)
	case "failsafe":
		return limit.NewFailsafe(o)
	default:
		return limit.NewFixed(c.Workers)
	}
}

// pressure tells the limit of all attempts what the runners report. It says nothing of any one class.
func (l limits) pressure(p float64) { l.all.Pressure(p) }

// capacity tells all limits how many the runners say they take at once: each class may have all of it.
func (l limits) capacity(n int) {
	l.all.Capacity(n)
	for _, class := range l.classes {
		class.Capacity(n)
	}
}

func newPool(c *config.Config, l limits, client kube.Client, reg prometheus.Registerer, log *slog.Logger) (*runner.Pool, error) {
	opt := runner.Options{
		Targets: c.RunnerTargets, Token: c.RunnerToken, Kube: client,
		CheckInterval: c.RunnerLostAfter / 5, CheckTimeout: c.RunnerLostAfter * 4 / 5,
		MaxIdlePerHost: c.Workers, OnPressure: l.pressure, OnCapacity: l.capacity, Metrics: runner.NewMetrics(reg),
	}
	if c.Blobs != "" {
		store, err := blobs.New(c.Blobs, c.RedDBToken)
		if err != nil {
			return nil, fmt.Errorf("--blobs: %w", err)
		}
		opt.Blobs = store
	}
	pool, err := runner.NewPool(opt, log)
	if err != nil {
		return nil, fmt.Errorf("--runners: %w", err)
	}
	return pool, nil
}

// newSlurm is nil where no Slurm is configured.
func newSlurm(c *config.Config, reg prometheus.Registerer, log *slog.Logger) (*slurm.Backend, error) {
	if c.Slurm.API == "" {
		return nil, nil
	}
	opt := slurm.Options{
		URL: c.Slurm.API, User: c.Slurm.User, TokenFile: c.Slurm.TokenFile, Conf: c.Slurm.Conf, Spool: c.Slurm.Spool,
		SpoolMode: c.Slurm.Mode(), Metrics: reg,
	}
	if c.Slurm.API == "cli" {
		opt.URL = ""
	}
	b, err := slurm.New(opt, log)
	if err != nil {
		return nil, fmt.Errorf("--slurm: %w", err)
	}
	return b, nil
}

// places are where tasks run, by the names that tasks call them.
func (s *service) places() (map[string]dispatch.Place, error) {
	places := map[string]dispatch.Place{
		queue.RunnerBackend: {Backend: s.pool, Limit: s.limits.all, Classes: s.limits.classes},
	}
	if s.slurm != nil {
		jobs, err := limit.NewFixed(s.config.Slurm.MaxJobs)
		if err != nil {
			return nil, fmt.Errorf("--slurm-max-jobs: %w", err)
		}
		places[queue.SlurmBackend] = dispatch.Place{Backend: s.slurm, Limit: jobs, Resumes: true}
	}
	return places, nil
}
