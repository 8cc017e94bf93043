package runner

import (
	"context"
	"slices"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
)

// minSpeed is what a machine is taken to have left under the highest pressure.
const minSpeed = 0.05

// errClosed answers those who wait when the pool is closed.
var errClosed = &backend.Fault{
	Code: "Stopping", Message: "the orchestrator stopped before a runner was free", Cause: context.Canceled,
}

// place is one request's on a runner.
type place struct {
	endpoint  *endpoint
	workspace string
	trial     *time.Timer // for a breaker's probe: until which it has proved itself
}

// want is what a task asks of a place.
type want struct {
	task      string
	workspace string    // empty for none
	avoid     string    // URL of the runner of the task's last fault
	until     time.Time // before it, wait for a runner that holds the workspace rather than copy it to another
}

// waiter is a task in line.
type waiter struct {
	want
	turn chan *place // nil for a pool that was closed
}

// acquire takes a place on a runner, waiting for one in turn. Only a task whose place must be on certain
// runners lets those behind it pass.
func (p *Pool) acquire(ctx context.Context, w want) (*place, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	me := &waiter{want: w, turn: make(chan *place, 1)}
	if patience := p.patience(w.workspace); patience > 0 {
		me.until = time.Now().Add(patience)
		defer time.AfterFunc(patience, p.regrant).Stop()
	}
	p.waiting = append(p.waiting, me)
	p.grant()
	p.mu.Unlock()
	select {
	case pl := <-me.turn:
		if pl == nil {
			return nil, errClosed
		}
		return pl, nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.waiting, me); i >= 0 {
		p.waiting = slices.Delete(p.waiting, i, i+1)
	} else if pl := <-me.turn; pl != nil {
		// It was our turn in the same moment: pass the place on.
		p.record(pl, unclear)
		p.free(pl)
	}
	return nil, context.Cause(ctx)
}

// free takes a request off a runner: for the next one, or for good where that was the last of a runner that is gone.
func (p *Pool) free(pl *place) {
	e := pl.endpoint
	if e.wanted[pl.workspace]--; e.wanted[pl.workspace] <= 0 {
		delete(e.wanted, pl.workspace)
	}
	e.inFlight--
	p.forget()
	p.grant()
	if p.closed && p.inFlight() == 0 {
		p.idle()
	}
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
	now, full := time.Now(), false
	p.waiting = slices.DeleteFunc(p.waiting, func(w *waiter) bool {
		if full = full || !p.anyAvailable(now); full {
			return false
		}
		e := p.pick(w.want, now)
		if e == nil {
			return false
		}
		pl := &place{endpoint: e, workspace: w.workspace}
		if e.inFlight++; w.workspace != "" {
			e.wanted[w.workspace]++
		}
		p.enter(pl)
		w.turn <- pl
		return true
	})
}

func (p *Pool) anyAvailable(now time.Time) bool {
	return slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.available(now) })
}

// pick is the runner that is best for a task now; nil means that it is to wait.
func (p *Pool) pick(w want, now time.Time) *endpoint {
	var best *endpoint
	for _, e := range p.endpoints {
		if e.takes(w.workspace, now) && (best == nil || w.better(e, best)) {
			best = e
		}
	}
	if best != nil && w.workspace != "" && !best.holds(w.workspace) && now.Before(w.until) && p.heldElsewhere(w) {
		return nil
	}
	return best
}

// better compares two runners: one that did not fail the task, then one that holds its workspace, then the less loaded.
func (w want) better(a, b *endpoint) bool {
	if x, y := a.url != w.avoid, b.url != w.avoid; x != y {
		return x
	}
	if x, y := a.holds(w.workspace), b.holds(w.workspace); x != y {
		return x
	}
	return a.load() < b.load()
}

// heldElsewhere says whether a runner that has no room now holds the workspace and is worth waiting for.
func (p *Pool) heldElsewhere(w want) bool {
	return slices.ContainsFunc(p.endpoints, func(e *endpoint) bool {
		return e.trusted() && e.admits() && e.url != w.avoid && e.holds(w.workspace)
	})
}

func (p *Pool) inFlight() (n int) {
	for _, e := range p.endpoints {
		n += e.inFlight
	}
	return n
}
