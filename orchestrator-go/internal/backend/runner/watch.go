package runner

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Watch checks the runners and looks their names up until ctx ends.
func (p *Pool) Watch(ctx context.Context) {
	var loops sync.WaitGroup
	defer p.close()
	defer p.checks.Wait()
	defer loops.Wait()
	if slices.ContainsFunc(p.targets, func(t target) bool { return t.dns }) {
		p.resolve(ctx)
		loops.Go(func() { every(ctx, p.opt.ResolveEvery, p.resolve) })
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
		if e.checking {
			continue
		}
		e.checking = true
		p.checks.Go(func() { p.ask(ctx, e) })
	}
}

func (p *Pool) ask(ctx context.Context, e *endpoint) {
	sent := time.Now()
	bounded, cancel := context.WithTimeout(ctx, p.opt.CheckTimeout)
	defer cancel()
	i, err := p.client.info(bounded, e.url)
	if ctx.Err() == nil { // a check that was broken off says nothing
		p.judge(e, sent, i, err)
	}
}

func (p *Pool) judge(e *endpoint, sent time.Time, i info, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := e.healthy
	if e.checking = false; err == nil {
		e.passed(i)
	} else {
		e.failed(sent, time.Now(), p.opt.CheckTimeout)
	}
	if was != e.healthy {
		p.log.Info("a runner changed", "runner", e.url, "healthy", e.healthy, "error", err)
	}
	p.grant()
}

// resolve adds the addresses that names have now and drops those that are gone. A name
// that cannot be looked up keeps its runners: the health checks judge them.
func (p *Pool) resolve(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.ResolveEvery)
	defer cancel()
	var found []string
	for _, t := range p.targets {
		if !t.dns {
			continue
		}
		urls, err := p.lookup(ctx, t)
		if err != nil {
			p.log.Warn("cannot look up the runners; keeping those known", "name", t.host, "error", err)
			return
		}
		found = append(found, urls...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.replace(found)
}

func (p *Pool) lookup(ctx context.Context, t target) ([]string, error) {
	addresses, err := p.opt.Lookup(ctx, t.host)
	if err != nil {
		return nil, err
	}
	return t.expand(addresses)
}

// replace makes the runners that were found by name those at urls. One that is gone with requests in flight stays
// under check: it may end them well, as a terminating pod does, and if its node has vanished that must be noticed.
func (p *Pool) replace(urls []string) {
	for _, e := range p.endpoints {
		e.gone = !e.static && !slices.Contains(urls, e.url)
	}
	p.forget()
	for _, url := range urls {
		if !slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.url == url }) {
			p.endpoints = append(p.endpoints, newEndpoint(url, false))
		}
	}
	p.grant()
}

func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		e.lose()
	}
	p.client.http.CloseIdleConnections()
}
