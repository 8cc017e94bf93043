package runner

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// Options are the settings of a Pool.
type Options struct {
	Targets        []string // base URLs; dns+http://name:port stands for every address of the name
	Token          string
	CheckInterval  time.Duration // between two health checks of a runner
	CheckTimeout   time.Duration // of one; generous, for a machine full of commands answers late
	ResolveEvery   time.Duration // between two look-ups of the names
	MaxIdlePerHost int
	// Lookup returns the addresses of a name; nil stands for the resolver of the system.
	Lookup func(ctx context.Context, host string) ([]string, error)
}

// Pool shares tasks out over env runners: to the healthy one with the least in flight.
// A task waits for a runner as long as there is none. A runner whose checks fail for CheckTimeout is lost,
// so one that goes silent is noticed within CheckInterval and CheckTimeout. Make one with NewPool.
type Pool struct {
	client  *client
	opt     Options
	log     *slog.Logger
	targets []target
	checks  sync.WaitGroup // under way

	mu        sync.Mutex
	endpoints []*endpoint
	waiting   []chan *endpoint // first come, first served
}

// NewPool checks the targets; Run has to run for tasks to find runners.
func NewPool(opt Options, log *slog.Logger) (*Pool, error) {
	targets, err := parseTargets(opt.Targets)
	if err != nil {
		return nil, err
	}
	if opt.Lookup == nil {
		opt.Lookup = net.DefaultResolver.LookupHost
	}
	transport := &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: opt.MaxIdlePerHost, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true,
	}
	p := &Pool{
		client:  &client{http: &http.Client{Transport: transport}, token: opt.Token},
		opt:     opt,
		log:     log.With("component", "runner"),
		targets: targets,
	}
	for _, t := range targets {
		if !t.dns {
			p.endpoints = append(p.endpoints, newEndpoint(t.url, true))
		}
	}
	return p, nil
}

// Run runs an attempt on a runner (see backend.Backend). A full runner costs no attempt.
func (p *Pool) Run(ctx context.Context, a backend.Attempt) (*queue.Result, error) {
	for {
		e, err := p.acquire(ctx)
		if err != nil {
			return nil, err
		}
		a.Started(e.url)
		result, err := p.exec(ctx, e, a)
		p.release(e, err)
		var busy *errBusy
		if !errors.As(err, &busy) {
			return result, err
		}
	}
}

func (p *Pool) exec(ctx context.Context, e *endpoint, a backend.Attempt) (*queue.Result, error) {
	p.mu.Lock()
	lost := e.ctx
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lost, cancel)()
	return p.client.exec(ctx, e.url, a)
}

// Healthy counts the runners that passed their last check, and all of them.
func (p *Pool) Healthy() (healthy, known int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.gone {
			continue
		}
		known++
		if e.healthy {
			healthy++
		}
	}
	return healthy, known
}
