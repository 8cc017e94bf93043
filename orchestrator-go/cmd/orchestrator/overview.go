package main

import (
	"cmp"
	"context"
	"slices"

	"dspyagent.io/orchestrator/internal/dispatch"
	"dspyagent.io/orchestrator/internal/httpapi"
	sched "dspyagent.io/orchestrator/internal/schedule"
)

// published is what the leader says of itself, for every replica to show.
type published struct {
	Leader httpapi.Leader `json:"leader"`
	View   sched.View     `json:"view"`
}

// publish tells the other replicas what is scheduled, while this one leads.
func (s *service) publish(ctx context.Context, d *dispatch.Dispatcher) error {
	view, since, leads := d.Leading()
	if !leads {
		return nil
	}
	return s.queue.PutOverview(ctx, published{httpapi.Leader{Name: s.queue.Name(), Since: since.UTC()}, view})
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
		if place, known := s.placesByName[out.Backends[i].Name]; known {
			out.Backends[i].Capacity = place.Limit.Limit()
		}
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
