package runner

import (
	"context"
	"errors"
	"slices"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
)

// acquire takes a place on a runner, waiting for one in turn.
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
