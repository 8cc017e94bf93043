package httpapi

import (
	"context"
	"time"
)

// Overview is how much waits and runs, of whom and where.
type Overview struct {
	Leader   *Leader   `json:"leader,omitempty" doc:"Absent while no replica leads: tasks are taken, and wait."`
	Tenants  []Load    `json:"tenants" nullable:"false" doc:"By tenant; only your own, unless you are an admin."`
	Classes  []Load    `json:"classes" nullable:"false" doc:"By class; for admins."`
	Backends []Load    `json:"backends" nullable:"false" doc:"By backend; for admins."`
	Limits   []KeyLoad `json:"limits" nullable:"false" doc:"By limit key, those in use; for admins."`
}

// Leader is the replica that schedules.
type Leader struct {
	Name  string    `json:"name"`
	Here  bool      `json:"here" doc:"It is the replica that answers."`
	Since time.Time `json:"since"`
}

// Load counts tasks.
type Load struct {
	Name     string `json:"name"`
	Queued   int    `json:"queued" doc:"May begin as soon as there is a place."`
	Delayed  int    `json:"delayed" doc:"Wait for their time, or for a next attempt."`
	Running  int    `json:"running"`
	Waiting  int    `json:"waiting" doc:"For their children."`
	Capacity int    `json:"capacity,omitempty" doc:"Of a backend: how many it runs at once."`
}

// KeyLoad is how a limit is used.
type KeyLoad struct {
	Tenant  string `json:"tenant,omitempty"`
	Key     string `json:"key"`
	Max     int    `json:"max"`
	Queued  int    `json:"queued"`
	Running int    `json:"running"`
}

func (a *API) showQueue(ctx context.Context, in *struct{ Whose }) (*output[Overview], error) {
	tenant, err := a.among(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	if a.Overview == nil {
		return nil, failForNow(503, "NoOverview", "This replica has no overview of the queue; list the tasks instead.")
	}
	seen, err := a.Overview(ctx, tenant)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	// [] rather than null, whoever filled it in.
	seen.Tenants, seen.Classes, seen.Backends = some(seen.Tenants), some(seen.Classes), some(seen.Backends)
	seen.Limits = some(seen.Limits)
	if tenant != "" && !principal(ctx).Admin {
		seen.Classes, seen.Backends, seen.Limits = []Load{}, []Load{}, []KeyLoad{}
	}
	return &output[Overview]{seen}, nil
}

func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
