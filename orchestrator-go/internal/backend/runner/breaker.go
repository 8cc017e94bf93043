package runner

import (
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
)

// The circuit breaker of a runner: three faults among its last ten answers open it. After a while one task is let
// through: when it ends, however its command did, or has run for that while without a fault, the breaker closes.
const (
	breakerFaults  = 3
	breakerAnswers = 10
)

func newBreaker(delay time.Duration) circuitbreaker.CircuitBreaker[any] {
	return circuitbreaker.NewBuilder[any]().
		WithFailureThresholdRatio(breakerFaults, breakerAnswers).
		WithSuccessThreshold(1).
		WithDelay(delay).
		Build()
}

// admits says whether the breaker would let a task through, without taking its permit.
func (e *endpoint) admits() bool {
	switch e.breaker.State() {
	case circuitbreaker.OpenState:
		return e.breaker.RemainingDelay() == 0
	case circuitbreaker.HalfOpenState:
		return e.probe == nil
	default:
		return true
	}
}

// verdict is what the end of a place says of its runner.
type verdict int

const (
	unclear verdict = iota // such as an attempt that was cancelled
	good
	bad
)

// enter takes the breaker's permit for a place.
func (p *Pool) enter(pl *place) {
	e := pl.endpoint
	if e.breaker.IsClosed() {
		return
	}
	e.breaker.TryAcquirePermit() // half-opens it; that only one is let through is up to admits, for some decide nothing
	e.probe = pl
	pl.trial = time.AfterFunc(p.opt.BreakerDelay, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.record(pl, good)
		p.grant()
	})
}

// record tells the breaker of a runner what became of a place on it.
func (p *Pool) record(pl *place, v verdict) {
	e := pl.endpoint
	probe := e.probe == pl
	if probe {
		e.probe = nil
		pl.trial.Stop()
	}
	was := e.breaker.State()
	switch {
	case v == good && (probe || was == circuitbreaker.ClosedState):
		e.breaker.RecordSuccess()
	case v == bad:
		e.breaker.RecordFailure()
	}
	if now := e.breaker.State(); now != was {
		p.log.Warn("a runner's circuit breaker changed", "runner", e.url, "was", was.String(), "is", now.String())
		if now == circuitbreaker.OpenState {
			p.metrics.opened()
			time.AfterFunc(p.opt.BreakerDelay, p.regrant)
		}
	}
}
