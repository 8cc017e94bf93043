package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/runner"
	"dspyagent.io/orchestrator/internal/backend/slurm"
	"dspyagent.io/orchestrator/internal/config"
	"dspyagent.io/orchestrator/internal/dispatch"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/telemetry"
)

// flushTimeout is for the last spans.
const flushTimeout = 3 * time.Second

// ballastBytes of memory are never touched, and so take none. But they count as live: the garbage collector, which
// otherwise took a fifth of the time of small queues, runs once as much again has been allocated.
const ballastBytes = 64 << 20

// serve runs until ctx ends: it then drains, and returns.
func serve(ctx context.Context, c *config.Config) error {
	defer runtime.KeepAlive(make([]byte, ballastBytes))
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return fmt.Errorf("--log-level: %w", err)
	}
	log := telemetry.NewLogger(os.Stdout, level)
	redis.SetLogger(clientLog{log})
	db, err := connect(c)
	if err != nil {
		return err
	}
	q, err := queue.NewRedis(db, queue.Options{
		Prefix: c.KeyPrefix, Lease: c.Lease, ResultTTL: c.ResultTTL, DeadTTL: c.DeadTTL, MaxQueued: c.MaxQueued,
	})
	if err != nil {
		return err
	}
	flush, err := telemetry.Export(ctx, "orchestrator", httpapi.Version, os.Getenv, log)
	if err != nil {
		return err
	}
	s := &service{config: c, log: log, queue: q, registry: prometheus.NewRegistry()}
	if err = s.assemble(); err == nil {
		err = s.run(ctx)
	}
	q.Close()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	return errors.Join(err, db.Close(), flush(bounded))
}

// clientLog takes the client library's own messages, which repeat the errors that it returns.
type clientLog struct{ log *slog.Logger }

// Printf implements the library's logger.
func (c clientLog) Printf(ctx context.Context, format string, v ...any) {
	c.log.DebugContext(ctx, fmt.Sprintf(format, v...), "component", "redis")
}

func connect(c *config.Config) (*redis.Client, error) {
	opt, err := redis.ParseURL(c.RedDB)
	if err != nil {
		return nil, fmt.Errorf("--reddb: %w", err)
	}
	if c.RedDBToken != "" {
		opt.Password = c.RedDBToken
	}
	// RESP2 serves RedDB and Redis alike, and saves the handshake that neither side needs.
	opt.Protocol = 2
	opt.DisableIdentity = true
	// Every caller here tries again by itself; more tries below it would only hide how long the store is away.
	opt.DialerRetries = 1
	// Sent again unasked, a read of the log would have the store give out what follows, and the lost reply be nobody's.
	opt.MaxRetries = -1
	// Without it the deadlines given here would end waiting for a connection, but no exchange on one.
	opt.ContextTimeoutEnabled = true
	return redis.NewClient(opt), nil
}

// service holds the parts of a running orchestrator.
type service struct {
	config       *config.Config
	log          *slog.Logger
	queue        *queue.Redis
	limits       limits
	pool         *runner.Pool
	slurm        *slurm.Backend // nil for none
	placesByName map[string]dispatch.Place
	auth         auth.Authenticator
	registry     *prometheus.Registry
	draining     atomic.Bool
}

// assemble makes the parts that the settings ask for.
func (s *service) assemble() error {
	client, err := cluster(s.config, s.log)
	if err != nil {
		return err
	}
	if s.auth, err = authenticator(s.config, client, s.log); err != nil {
		return err
	}
	if s.limits, err = newLimits(s.config); err != nil {
		return fmt.Errorf("--workers: %w", err)
	}
	if s.pool, err = newPool(s.config, s.limits, client, s.registry, s.log); err != nil {
		return err
	}
	if s.slurm, err = newSlurm(s.config, s.registry, s.log); err != nil {
		return err
	}
	s.placesByName, err = s.places()
	return err
}

// api serves the queue.
func (s *service) api() *httpapi.API {
	tailers := map[string]backend.Tailer{}
	if s.slurm != nil {
		tailers[queue.SlurmBackend] = s.slurm
	}
	return httpapi.NewAPI(httpapi.Options{
		Tasks: s.queue, Auth: s.auth, Log: s.log, Tailers: tailers, Overview: s.overview, Metrics: s.registry,
		SlurmTenants: s.config.Slurm.Tenants,
	})
}

func (s *service) run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.config.Listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	opt := dispatch.Defaults()
	opt.Lease, opt.DrainTimeout, opt.KeepInLog = s.config.Lease, s.config.DrainTimeout, s.config.ResultTTL
	d := dispatch.New(s.queue, s.placesByName, opt, s.log, dispatch.NewMetrics(s.registry))
	s.observe(d, s.placesByName)
	api := s.api()

	server := &http.Server{
		Handler: s.routes(api), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	failed := make(chan error, 2)
	server.RegisterOnShutdown(api.Close)
	go func() { failed <- server.Serve(listener) }()
	closeProfiles := s.profiles(failed)
	s.log.Info("serving", "component", "main", "listen", listener.Addr().String())

	work, stopWork := context.WithCancel(ctx)
	var parts sync.WaitGroup
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	parts.Go(func() { s.pool.Watch(watching) })
	parts.Go(func() {
		defer stopWatching()
		if s.open(work) {
			d.Run(work)
		}
	})
	parts.Go(func() { s.maintain(work, d) })

	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	s.draining.Store(true)
	s.log.Info("draining", "component", "main")
	// The API serves on while attempts end: the queue is durable, and a task sent now is run by another replica or the
	// next start, where a refusal would only have the client wait. Its connection closes, so that it finds them.
	server.SetKeepAlivesEnabled(false)
	stopWork()
	parts.Wait()
	if s.slurm != nil {
		s.slurm.Close()
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(bounded), closeProfiles())
}

// open waits for the store to have its stream; the API answers 503 until then.
func (s *service) open(ctx context.Context) bool {
	for {
		err := s.queue.Open(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.log.Error("cannot open the queue; trying again", "component", "main", "error", err)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return false
		}
	}
}

func (s *service) routes(api http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/v1/", api)
	httpapi.Probes(mux, s.ready, s.log)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	return mux
}

func (s *service) ready(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("draining")
	}
	return errors.Join(s.queue.Ping(ctx), s.pool.Ready())
}

// profiles serves pprof on an address of its own, and only when asked to.
func (s *service) profiles(failed chan<- error) (closeServer func() error) {
	if s.config.Pprof == "" {
		return func() error { return nil }
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Addr: s.config.Pprof, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("--pprof: %w", err)
		}
	}()
	return server.Close
}
