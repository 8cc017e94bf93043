package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"dspyagent.io/orchestrator/internal/dispatch"
	"dspyagent.io/orchestrator/internal/httpapi"
	sched "dspyagent.io/orchestrator/internal/schedule"
)

// published is what the leader says of itself, for every replica to show.
type published struct {
	Leader httpapi.Leader `json:"leader"`
	View   sched.View     `json:"view"`
	Limits map[string]int `json:"limits"` // by backend: attempts that it runs at once
}

// republish is how old what was published may become, well within the time that the store keeps it.
const republish = 5 * time.Second

// publisher tells the other replicas what is scheduled, while this one leads.
type publisher struct {
	*service
	dispatcher *dispatch.Dispatcher
	text       []byte // published last
	at         time.Time
}

// publish writes only what has changed, or would soon be forgotten.
func (p *publisher) publish(ctx context.Context) error {
	view, since, leads := p.dispatcher.Leading()
	if !leads {
		p.text = nil
		return nil
	}
	text, err := json.Marshal(p.describe(view, since))
	if err != nil {
		return fmt.Errorf("describing the schedule: %w", err)
	}
	if bytes.Equal(text, p.text) && time.Since(p.at) < republish {
		return nil
	}
	if err := p.queue.PutOverview(ctx, json.RawMessage(text)); err != nil {
		return err
	}
	p.text, p.at = text, time.Now()
	return nil
}

// describe is the same for the same schedule.
func (p *publisher) describe(view sched.View, since time.Time) published {
	slices.SortFunc(view.Rows, func(a, b sched.Row) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Class, b.Class))
	})
	slices.SortFunc(view.Keys, func(a, b sched.KeyUse) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
	})
	limits := make(map[string]int, len(p.placesByName))
	for name, place := range p.placesByName {
		limits[name] = place.Limit.Limit()
	}
	return published{httpapi.Leader{Name: p.queue.Name(), Since: since.UTC()}, view, limits}
}

// overview is what the leader said last, of one tenant or, with an empty name, of all.
func (s *service) overview(ctx context.Context, tenant string) (httpapi.Overview, error) {
	var p published
	found, err := s.queue.Overview(ctx, &p)
	if err != nil || !found {
		return httpapi.Overview{}, err
	}
	p.Leader.Here = p.Leader.Name == s.queue.Name()
	ours := func(x sched.Share) bool { return tenant == "" || x.Tenant == tenant }
	out := httpapi.Overview{
		Leader:   &p.Leader,
		Tenants:  loads(p.View.Sum(func(x sched.Share) (string, bool) { return x.Tenant, ours(x) })),
		Classes:  loads(p.View.Sum(func(x sched.Share) (string, bool) { return string(x.Class), ours(x) })),
		Backends: loads(p.View.Sum(func(x sched.Share) (string, bool) { return x.Backend, ours(x) })),
	}
	for i := range out.Backends {
		out.Backends[i].Capacity = p.Limits[out.Backends[i].Name]
	}
	for _, k := range p.View.Keys {
		if tenant == "" || k.Tenant == tenant {
			out.Limits = append(out.Limits, httpapi.KeyLoad{Tenant: k.Tenant, Key: k.Key, Max: k.Max, Queued: k.Parked, Running: k.Running})
		}
	}
	slices.SortFunc(out.Limits, func(a, b httpapi.KeyLoad) int {
		return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Key, b.Key))
	})
	return out, nil
}

func loads(sums map[string]sched.Count) []httpapi.Load {
	out := make([]httpapi.Load, 0, len(sums))
	for name, n := range sums {
		out = append(out, httpapi.Load{
			Name: name, Queued: n.Ready + n.Parked, Delayed: n.Delayed, Running: n.Running, Waiting: n.Waiting,
		})
	}
	slices.SortFunc(out, func(a, b httpapi.Load) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
