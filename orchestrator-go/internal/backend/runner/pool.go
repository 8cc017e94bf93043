package runner

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"k8s.io/utils/lru"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/kube"
	"dspyagent.io/orchestrator/internal/queue"
)

const (
	// maxFaulted bounds how many tasks' last faults are remembered, and maxCopied how many workspaces' copies.
	maxFaulted = 10_000
	maxCopied  = 10_000
	// maxUnknown is how often a runner may drop a task's workspace before it can begin, in one attempt.
	maxUnknown = 3
	// idleConn is less than the time after which a runner closes a connection: a request that meets the closing is lost.
	idleConn = 5 * time.Second
	// crowdedPause is between two attempts to send a workspace to a runner that has no room for one.
	crowdedPause = 5 * time.Second
)

// Options are the settings of a Pool. Zero durations stand for the defaults given here.
type Options struct {
	// Targets are base URLs, http://host:port; dns+http://name:port for every address of a name; or
	// endpointslices+http://namespace?service=name&port=http for what Kubernetes tells (see parseTargets).
	Targets        []string
	Token          string
	CheckInterval  time.Duration // between two health checks of a runner; 1 s
	CheckTimeout   time.Duration // of one; generous, for a machine full of commands answers late; 4 s
	ResolveEvery   time.Duration // between two look-ups of the names; 5 s
	BreakerDelay   time.Duration // until a runner whose breaker opened is tried again; 5 s
	CopyTimeout    time.Duration // of one workspace to one runner; 10 min
	MaxIdlePerHost int
	// Lookup returns the addresses of a name; nil stands for the resolver of the system.
	Lookup func(ctx context.Context, host string) ([]string, error)
	// Kube is for targets that are EndpointSlices; see NeedsKube.
	Kube kube.Client
	// Blobs is where workspaces come from; nil where tasks have none.
	Blobs Blobs
	// OnPressure is told the pressure on the runners after each check of one, if not nil; from several goroutines at
	// once, which it must not hold up.
	OnPressure func(float64)
	// OnCapacity is told likewise what Capacity is.
	OnCapacity func(int)
	// Metrics may be nil.
	Metrics *Metrics
}

// Pool shares tasks out over env runners: to the healthy one with the least to do, or one that holds the task's
// workspace. A task waits for a runner as long as there is none. A runner whose checks fail for CheckTimeout is
// lost, so one that goes silent is noticed within CheckInterval and CheckTimeout. Make one with NewPool.
type Pool struct {
	client  *client
	opt     Options
	log     *slog.Logger
	metrics *Metrics
	targets []target
	checks  sync.WaitGroup // under way
	copying sync.WaitGroup // workspaces

	mu        sync.Mutex
	endpoints []*endpoint
	found     map[int][]string   // URLs, by the target that stands for them
	problems  map[int]error      // of targets that cannot be found out about now
	waiting   []*waiter          // first come, first served
	closed    bool               // no more places
	ended     bool               // no more copies either
	idle      context.CancelFunc // to be called when closed and nothing is in flight
	drained   context.Context

	faulted *lru.Cache // URL of the runner of a task's last fault, by the task's id
	copied  *lru.Cache // how long the last copy of a workspace took, by its name
}

// NewPool checks the targets; Watch has to run for tasks to find runners.
func NewPool(opt Options, log *slog.Logger) (*Pool, error) {
	targets, err := parseTargets(opt.Targets)
	if err != nil {
		return nil, err
	}
	if opt.Kube == nil && NeedsKube(opt.Targets) {
		return nil, errors.New("runners are to be found through EndpointSlices, without access to Kubernetes")
	}
	if opt.Lookup == nil {
		opt.Lookup = net.DefaultResolver.LookupHost
	}
	opt.CheckInterval = cmp.Or(opt.CheckInterval, time.Second)
	opt.CheckTimeout = cmp.Or(opt.CheckTimeout, 4*time.Second)
	opt.ResolveEvery = cmp.Or(opt.ResolveEvery, 5*time.Second)
	opt.BreakerDelay = cmp.Or(opt.BreakerDelay, 5*time.Second)
	opt.CopyTimeout = cmp.Or(opt.CopyTimeout, 10*time.Minute)
	transport := &http.Transport{
		MaxIdleConns: 0, MaxIdleConnsPerHost: opt.MaxIdlePerHost, IdleConnTimeout: idleConn,
		DisableCompression: true, ExpectContinueTimeout: time.Second,
	}
	p := &Pool{
		client:  &client{http: &http.Client{Transport: transport}, token: opt.Token},
		opt:     opt,
		log:     log.With("component", "runner"),
		metrics: opt.Metrics,
		targets: targets,
		found:   map[int][]string{}, problems: map[int]error{},
		faulted: lru.New(maxFaulted), copied: lru.New(maxCopied),
	}
	p.drained, p.idle = context.WithCancel(context.Background())
	for _, t := range targets {
		if t.kind == static {
			p.endpoints = append(p.endpoints, newEndpoint(t.url, true, newBreaker(opt.BreakerDelay)))
		}
	}
	return p, nil
}

// Run runs an attempt on a runner (see backend.Backend). What kept a runner from beginning it, such as being
// full or stopping, costs no attempt.
func (p *Pool) Run(ctx context.Context, a backend.Attempt) (*queue.Result, error) {
	if err := p.possible(a.Task); err != nil {
		return nil, err
	}
	for unknown := 0; ; {
		pl, err := p.acquire(ctx, p.want(a.Task))
		if err != nil {
			return nil, err
		}
		result, err := p.attempt(ctx, pl.endpoint, a)
		p.release(ctx, pl, a.Task, err)
		var later *errLater
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case !errors.As(err, &later):
			return result, err
		case later.forgotten:
			if unknown++; unknown == maxUnknown {
				return nil, &backend.Fault{Code: "WorkspaceLost", Message: "the runners drop the task's workspace before it can begin", Cause: err}
			}
		}
	}
}

func (p *Pool) want(task queue.Task) want {
	w := want{task: task.ID}
	if !task.Spec.Noop {
		w.workspace = task.Spec.Workspace
	}
	if url, ok := p.faulted.Get(task.ID); ok {
		w.avoid = url.(string)
	}
	return w
}

// attempt carries out a on one runner, and ends with it.
func (p *Pool) attempt(ctx context.Context, e *endpoint, a backend.Attempt) (*queue.Result, error) {
	p.mu.Lock()
	lost := e.ctx
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(lost, cancel)()
	if w := p.want(a.Task); w.workspace != "" {
		if err := p.provide(ctx, e, w.workspace); err != nil {
			return nil, err
		}
	}
	a.Started(e.url)
	return p.client.exec(ctx, e.url, a)
}

// release gives a place back, with what its end says of the runner.
func (p *Pool) release(ctx context.Context, pl *place, task queue.Task, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, v := pl.endpoint, good
	var later *errLater
	var fault *backend.Fault
	switch {
	case err != nil && ctx.Err() != nil:
		v = unclear
	case errors.As(err, &later):
		v = p.postpone(e, later, task.Spec.Workspace)
	case errors.As(err, &fault) && (fault.Code == codeLost || fault.Code == codeFault):
		v = bad
		p.faulted.Add(task.ID, e.url)
		// Of a lost one: not trusted again until a check passes; the other requests may still end well.
		e.healthy = e.healthy && fault.Code != codeLost
	case errors.As(err, &fault):
		v = unclear
	default:
		p.faulted.Remove(task.ID)
	}
	if later == nil {
		e.crowdedUntil = time.Time{} // what ran may have been what took the room
	}
	p.record(pl, v)
	p.free(pl)
}

// postpone takes note of why a runner did not begin a task.
func (p *Pool) postpone(e *endpoint, why *errLater, workspace string) verdict {
	switch {
	case why.forgotten:
		delete(e.held, workspace)
	case why.unreachable:
		e.healthy = false // until a check passes
		return unclear
	case why.crowded:
		e.crowdedUntil = time.Now().Add(crowdedPause)
		time.AfterFunc(crowdedPause, p.regrant)
	default:
		e.coolUntil = time.Now().Add(why.after)
		time.AfterFunc(why.after, p.regrant)
	}
	return good
}
