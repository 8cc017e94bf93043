package runner

import (
	"context"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// endpoint is one runner; the pool's mutex guards it.
type endpoint struct {
	url      string
	static   bool // named by the configuration, not found
	gone     bool // found no more, or terminating: it gets no tasks, and is kept until none is in flight
	healthy  bool
	asked    bool // a check was sent, ever
	checking bool // a check is under way
	// failing is when the first check was sent of those that failed in a row; zero for none.
	failing  time.Time
	limit    int // requests it takes at once, 0 for unknown
	inFlight int
	others   int     // requests of others, at the last check
	pressure float64 // at the last check: 0 for none to 1 for a machine that is saturated

	coolUntil    time.Time // it was full
	crowdedUntil time.Time // it had no room for another workspace

	breaker circuitbreaker.CircuitBreaker[any]
	probe   *place // the one that a half-open breaker let through

	held   map[string]time.Time // workspaces, by when we learned of them
	copies map[string]*copying  // workspaces on their way
	wanted map[string]int       // places given to tasks with a workspace, which is there or soon will be

	ctx  context.Context // of its requests; ends when it is lost or forgotten
	lose context.CancelFunc
}

func newEndpoint(url string, static bool, breaker circuitbreaker.CircuitBreaker[any]) *endpoint {
	e := &endpoint{
		url: url, static: static, breaker: breaker,
		held: map[string]time.Time{}, copies: map[string]*copying{}, wanted: map[string]int{},
	}
	e.ctx, e.lose = context.WithCancel(context.Background())
	return e
}

// trusted says whether tasks may be meant for e, now or once it has room.
func (e *endpoint) trusted() bool { return e.healthy && !e.gone }

func (e *endpoint) available(now time.Time) bool {
	return e.trusted() && !now.Before(e.coolUntil) && (e.limit == 0 || e.inFlight < e.limit) && e.admits()
}

// takes says whether e is available to a task that wants the workspace.
func (e *endpoint) takes(workspace string, now time.Time) bool {
	return e.available(now) && (workspace == "" || e.holds(workspace) || !now.Before(e.crowdedUntil))
}

// load is what one more request would meet: those before it, over the speed that pressure leaves the machine.
func (e *endpoint) load() float64 {
	return float64(e.inFlight+e.others+1) / max(1-e.pressure, minSpeed)
}

// passed takes over what a check found that was sent at a time.
func (e *endpoint) passed(sent time.Time, i info) {
	if e.ctx.Err() != nil {
		e.ctx, e.lose = context.WithCancel(context.Background())
	}
	e.healthy, e.failing = true, time.Time{}
	e.limit, e.pressure = i.MaxConcurrent, i.pressureNow()
	e.others = max(i.Running+i.Waiting-e.inFlight, 0)
	if i.Workspaces == nil {
		return
	}
	held := map[string]time.Time{}
	for sha, at := range e.held {
		// The runner did not know it yet, or did not name all.
		if at.After(sent) || i.WorkspacesHeld > len(i.Workspaces) {
			held[sha] = at
		}
	}
	for _, sha := range i.Workspaces {
		held[sha] = sent
	}
	e.held = held
}

// failed notes that a check failed which was sent at a time. Once the checks have failed for as long as
// patience, be it one that went unanswered or several refused, the runner is lost with all it runs.
func (e *endpoint) failed(sent, now time.Time, patience time.Duration) {
	if e.healthy = false; e.failing.IsZero() {
		e.failing = sent
	}
	if now.Sub(e.failing) >= patience {
		e.lose()
	}
}

// holds says whether a task with the workspace need not wait for the whole of a copy here.
func (e *endpoint) holds(sha string) bool {
	_, held := e.held[sha]
	_, coming := e.copies[sha]
	return held || coming || e.wanted[sha] > 0
}
