package httpapi

import (
	"context"

	"dspyagent.io/orchestrator/internal/queue"
)

type output[T any] struct{ Body T }

type byID struct {
	ID string `path:"id" pattern:"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" doc:"Of the task, a UUID."`
}

// Paging is exported because huma passes over unexported embedded structs.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor string `query:"cursor" maxLength:"64" doc:"From the page before."`
}

func (a *API) get(ctx context.Context, in *byID) (*output[Task], error) {
	return a.one(ctx)(a.tasks.Get(ctx, in.ID))
}

func (a *API) cancel(ctx context.Context, in *byID) (*output[Task], error) {
	task, err := a.tasks.Cancel(ctx, in.ID)
	if err == nil {
		a.canceller.Cancel(in.ID)
	}
	return a.one(ctx)(task, err)
}

func (a *API) retry(ctx context.Context, in *byID) (*output[Task], error) {
	return a.one(ctx)(a.tasks.Revive(ctx, in.ID))
}

func (a *API) one(ctx context.Context) func(queue.Task, error) (*output[Task], error) {
	return func(task queue.Task, err error) (*output[Task], error) {
		if err != nil {
			return nil, a.explain(ctx, err)
		}
		return &output[Task]{present(task)}, nil
	}
}

func (a *API) list(ctx context.Context, in *struct {
	State queue.State `query:"state" enum:"Queued,Running,Succeeded,Failed,Cancelled,Dead"`
	Paging
}) (*output[TaskPage], error) {
	page, err := a.tasks.List(ctx, in.State, in.Limit, in.Cursor)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return presentPage(page), nil
}

func (a *API) deadLetters(ctx context.Context, in *struct{ Paging }) (*output[TaskPage], error) {
	page, err := a.tasks.DeadLetters(ctx, in.Limit, in.Cursor)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return presentPage(page), nil
}
