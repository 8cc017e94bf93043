package runner

import (
	"context"
	"errors"
	"slices"
	"sync"
	"syscall"
	"time"
)

// stopPatience is how long a runner that takes no connections any more may go on with what it runs: the grace that a
// pod has by default. If its process dies before, its connections end by themselves.
const stopPatience = 30 * time.Second

// Watch checks the runners and finds out about them until ctx ends; then it ends whatever still runs.
func (p *Pool) Watch(ctx context.Context) {
	var loops sync.WaitGroup
	defer p.end()
	defer p.checks.Wait()
	defer loops.Wait()
	if slices.ContainsFunc(p.targets, func(t target) bool { return t.kind == dns }) {
		p.resolve(ctx)
		loops.Go(func() { every(ctx, p.opt.ResolveEvery, p.resolve) })
	}
	for i, t := range p.targets {
		if t.kind == byService {
			loops.Go(func() { p.followSlices(ctx, i) })
		}
	}
	p.check(ctx)
	every(ctx, p.opt.CheckInterval, p.check)
}

func every(ctx context.Context, interval time.Duration, do func(context.Context)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			do(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// check asks every runner at once, those that are gone and still run something among them. It does not
// wait: one that is silent must not keep the others from being asked again.
func (p *Pool) check(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		p.begin(ctx, e)
	}
}

func (p *Pool) begin(ctx context.Context, e *endpoint) {
	if e.checking || ctx.Err() != nil {
		return
	}
	e.asked, e.checking = true, true
	p.checks.Go(func() { p.ask(ctx, e) })
}

func (p *Pool) ask(ctx context.Context, e *endpoint) {
	sent := time.Now()
	bounded, cancel := context.WithTimeout(ctx, p.opt.CheckTimeout)
	defer cancel()
	i, err := p.client.info(bounded, e.url)
	if ctx.Err() != nil { // a check that was broken off says nothing
		return
	}
	pressure, capacity := p.judge(e, sent, i, err)
	if p.opt.OnPressure != nil {
		p.opt.OnPressure(pressure)
	}
	if p.opt.OnCapacity != nil {
		p.opt.OnCapacity(capacity)
	}
}

// judge takes over what a check found, and returns the pressure on all runners then, and their capacity.
func (p *Pool) judge(e *endpoint, sent time.Time, i info, err error) (pressure float64, capacity int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := e.healthy
	e.checking = false
	switch {
	case err == nil:
		e.passed(sent, i)
	case errors.Is(err, syscall.ECONNREFUSED):
		e.failed(sent, time.Now(), max(stopPatience, p.opt.CheckTimeout))
	default:
		e.failed(sent, time.Now(), p.opt.CheckTimeout)
	}
	if was != e.healthy {
		p.log.Info("a runner changed", "runner", e.url, "healthy", e.healthy, "error", err)
	}
	p.grant()
	return p.pressure(), p.capacity()
}

// resolve adds the addresses that names have now and drops those that are gone. A name
// that cannot be looked up keeps its runners: the health checks judge them.
func (p *Pool) resolve(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, p.opt.ResolveEvery)
	defer cancel()
	for i, t := range p.targets {
		if t.kind != dns {
			continue
		}
		urls, err := p.lookup(bounded, t)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			p.trouble(i, err)
			continue
		}
		p.trouble(i, nil)
		p.replace(ctx, i, urls)
	}
}

func (p *Pool) lookup(ctx context.Context, t target) ([]string, error) {
	addresses, err := p.opt.Lookup(ctx, t.host)
	if err != nil {
		return nil, err
	}
	return t.expand(addresses)
}

// trouble notes that who tells of a target's runners cannot be asked, or with nil that it can again.
func (p *Pool) trouble(i int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.problems[i]
	switch {
	case err == nil && was != nil:
		delete(p.problems, i)
		p.log.Info("runners can be found again", "target", p.targets[i].text)
	case err != nil:
		p.problems[i] = err
		if was == nil || was.Error() != err.Error() {
			p.log.Error("cannot find runners; keeping those known", "target", p.targets[i].text, "error", err)
		}
	}
}

// replace makes the runners that a target stands for those at urls. One that is gone with requests in flight stays
// under check: it may end them well, as a terminating pod does, and if its node has vanished that must be noticed.
func (p *Pool) replace(ctx context.Context, i int, urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found[i] = urls
	known := map[string]bool{}
	for _, urls := range p.found {
		for _, url := range urls {
			known[url] = true
		}
	}
	for _, e := range p.endpoints {
		e.gone = !e.static && !known[e.url]
	}
	p.forget()
	for _, url := range urls {
		if !slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.url == url }) {
			p.endpoints = append(p.endpoints, newEndpoint(url, false, newBreaker(p.opt.BreakerDelay)))
		}
	}
	for _, e := range p.endpoints {
		if !e.asked {
			p.begin(ctx, e)
		}
	}
	p.grant()
}
