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

// check asks every runner at once; one that does not answer in time failed.
func (p *Pool) check(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.CheckTimeout)
	defer cancel()
	p.mu.Lock()
	endpoints := slices.Clone(p.endpoints)
	p.mu.Unlock()
	var asked sync.WaitGroup
	for _, e := range endpoints {
		asked.Go(func() {
			i, err := p.client.info(ctx, e.url)
			p.judge(e, i, err)
		})
	}
	asked.Wait()
}

func (p *Pool) judge(e *endpoint, i info, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := e.healthy
	if err == nil {
		e.passed(i)
	} else {
		e.failed()
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
		urls, err := t.lookup(ctx)
		if err != nil {
			p.log.Warn("cannot look up the runners; keeping those known", "name", t.host, "error", err)
			return
		}
		found = append(found, urls...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.endpoints = slices.DeleteFunc(p.endpoints, func(e *endpoint) bool {
		return !e.static && !slices.Contains(found, e.url)
	})
	for _, url := range found {
		if !slices.ContainsFunc(p.endpoints, func(e *endpoint) bool { return e.url == url }) {
			p.endpoints = append(p.endpoints, newEndpoint(url, false))
		}
	}
}

func (p *Pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		e.lose()
	}
	p.client.http.CloseIdleConnections()
}
