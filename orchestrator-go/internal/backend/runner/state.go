package runner

import (
	"context"
	"errors"
	"fmt"
)

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

// Capacity is how many requests the runners that may be given some take at once, all of them together.
func (p *Pool) Capacity() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.capacity()
}

func (p *Pool) capacity() (n int) {
	for _, e := range p.endpoints {
		if e.trusted() && e.admits() {
			n += max(e.limit, 1)
		}
	}
	return n
}

// Pressure is the mean pressure on the healthy runners, weighted by what they take at once: 0 for none, or no
// runner, to 1 for machines that are saturated; more where a machine's kernel does not tell.
func (p *Pool) Pressure() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.pressure()
}

func (p *Pool) pressure() float64 {
	sum, weight := 0.0, 0
	for _, e := range p.endpoints {
		if e.trusted() {
			sum += e.pressure * float64(max(e.limit, 1))
			weight += max(e.limit, 1)
		}
	}
	if weight == 0 {
		return 0
	}
	return sum / float64(weight)
}

// Ready says why no runner can be found: nil while some are known, even if who told of them cannot be
// asked any more, for their checks tell how they are.
func (p *Pool) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if !e.gone {
			return nil
		}
	}
	var errs []error
	for i, err := range p.problems {
		errs = append(errs, fmt.Errorf("runners %q: %w", p.targets[i].text, err))
	}
	return errors.Join(errs...)
}

// Close gives out no more places, waits for the attempts that run, until ctx ends, and then ends the rest.
// Watch is to go on meanwhile: its checks notice runners that vanish.
func (p *Pool) Close(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	for _, w := range p.waiting {
		w.turn <- nil
	}
	p.waiting = nil
	if p.inFlight() == 0 {
		p.idle()
	}
	p.mu.Unlock()
	select {
	case <-p.drained.Done():
		return nil
	case <-ctx.Done():
		p.end()
		return context.Cause(ctx)
	}
}

// end ends everything that runs.
func (p *Pool) end() {
	p.mu.Lock()
	p.closed, p.ended = true, true
	for _, e := range p.endpoints {
		e.lose()
	}
	p.mu.Unlock()
	p.copying.Wait()
	p.client.http.CloseIdleConnections()
}
