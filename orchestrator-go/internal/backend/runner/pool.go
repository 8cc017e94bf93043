package runner

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
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

// Run runs a task on a runner (see dispatch.Backend). A full runner costs no attempt.
func (p *Pool) Run(ctx context.Context, task queue.Task, started func()) (*queue.Result, error) {
	for {
		e, err := p.acquire(ctx)
		if err != nil {
			return nil, err
		}
		started()
		result, err := p.exec(ctx, e, task)
		p.release(e, err)
		var busy *errBusy
		if !errors.As(err, &busy) {
			return result, err
		}
	}
}

func (p *Pool) exec(ctx context.Context, e *endpoint, task queue.Task) (*queue.Result, error) {
	p.mu.Lock()
	lost := e.ctx
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lost, cancel)()
	return p.client.exec(ctx, e.url, task)
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

func (p *Pool) acquire(ctx context.Context) (*endpoint, error) {
	p.mu.Lock()
	if len(p.waiting) == 0 {
		if e := p.pick(); e != nil {
			e.inFlight++
			p.mu.Unlock()
			return e, nil
		}
	}
	turn := make(chan *endpoint, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case e := <-turn:
		return e, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, turn); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else {
		// It was our turn in the same moment: pass the runner on.
		p.free(<-turn)
	}
	return nil, context.Cause(ctx)
}

func (p *Pool) release(e *endpoint, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var busy *errBusy
	var fault *backend.Fault
	switch {
	case errors.As(err, &busy):
		e.coolUntil = time.Now().Add(busy.after)
		time.AfterFunc(busy.after, p.regrant)
	case errors.As(err, &fault) && fault.Code == "RunnerLost" && !errors.Is(err, context.Canceled):
		// Not trusted again until a check passes; the other requests may still end well.
		e.healthy = false
	}
	p.free(e)
}

// free takes a request off a runner: for the next one, or for good where that was the last of a runner that is gone.
func (p *Pool) free(e *endpoint) {
	e.inFlight--
	p.forget()
	p.grant()
}

// forget drops the runners that are gone and have nothing in flight.
func (p *Pool) forget() {
	p.endpoints = slices.DeleteFunc(p.endpoints, func(e *endpoint) bool {
		if !e.gone || e.inFlight > 0 {
			return false
		}
		e.lose()
		return true
	})
}

func (p *Pool) regrant() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grant()
}

// grant serves those who wait, while there are runners.
func (p *Pool) grant() {
	for len(p.waiting) > 0 {
		e := p.pick()
		if e == nil {
			return
		}
		e.inFlight++
		p.waiting[0] <- e
		p.waiting = p.waiting[1:]
	}
}

func (p *Pool) pick() *endpoint {
	var best *endpoint
	now := time.Now()
	for _, e := range p.endpoints {
		if e.available(now) && (best == nil || e.inFlight < best.inFlight) {
			best = e
		}
	}
	return best
}
