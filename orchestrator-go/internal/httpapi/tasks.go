package httpapi

import (
	"context"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/queue"
)

type output[T any] struct{ Body T }

// ByID is exported as Paging is.
type ByID struct {
	ID string `path:"id" pattern:"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" doc:"Of the task, a UUID."`
}

// Paging is exported because huma passes over unexported embedded structs.
type Paging struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor string `query:"cursor" maxLength:"128" doc:"From the page before. A listing shows each task once, as long as it takes no more than ten minutes."`
}

// Whose is exported as Paging is.
type Whose struct {
	Tenant string `query:"tenant" maxLength:"63" doc:"Your own by default; admins see all."`
}

func (a *API) get(ctx context.Context, in *ByID) (*output[Task], error) {
	task, err := a.reach(ctx, auth.Read, in.ID)
	if err != nil {
		return nil, err
	}
	return &output[Task]{present(task)}, nil
}

func (a *API) cancel(ctx context.Context, in *ByID) (*output[Task], error) {
	return a.change(ctx, in.ID, a.Tasks.Cancel)
}

func (a *API) closeScope(ctx context.Context, in *ByID) (*output[Task], error) {
	return a.change(ctx, in.ID, a.Tasks.CloseScope)
}

func (a *API) retry(ctx context.Context, in *ByID) (*output[Task], error) {
	task, err := a.reach(ctx, auth.Write, in.ID)
	if err != nil {
		return nil, err
	}
	if err := a.mayRunOn(task.Spec.Backend, task.Spec.Tenant); err != nil {
		return nil, err
	}
	return a.change(ctx, in.ID, a.Tasks.Revive)
}

// change does something to a task that is the client's to change.
func (a *API) change(ctx context.Context, id string, do func(context.Context, string) (queue.Task, error)) (*output[Task], error) {
	if !principal(ctx).Admin {
		if _, err := a.reach(ctx, auth.Write, id); err != nil {
			return nil, err
		}
	}
	task, err := do(ctx, id)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	a.Nudge(id)
	return &output[Task]{present(task)}, nil
}

func (a *API) list(ctx context.Context, in *struct {
	State  queue.State `query:"state" enum:"Queued,Running,Waiting,Succeeded,Failed,Cancelled,Dead"`
	Class  queue.Class `query:"class" enum:"Interactive,Short,Long"`
	Parent string      `query:"parent" pattern:"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" doc:"Only its children."`
	Whose
	Paging
}) (*output[TaskPage], error) {
	tenant, err := a.among(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	return a.page(ctx, queue.Filter{State: in.State, Tenant: tenant, Parent: in.Parent, Class: in.Class}, in.Paging)
}

func (a *API) children(ctx context.Context, in *struct {
	ByID
	State queue.State `query:"state" enum:"Queued,Running,Waiting,Succeeded,Failed,Cancelled,Dead"`
	Paging
}) (*output[TaskPage], error) {
	parent, err := a.reach(ctx, auth.Read, in.ID)
	if err != nil {
		return nil, err
	}
	filter := queue.Filter{State: in.State, Parent: in.ID}
	if !principal(ctx).Admin {
		filter.Tenant = parent.Spec.Tenant
	}
	return a.page(ctx, filter, in.Paging)
}

func (a *API) page(ctx context.Context, filter queue.Filter, p Paging) (*output[TaskPage], error) {
	page, err := a.Tasks.List(ctx, filter, p.Limit, p.Cursor)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return presentPage(page), nil
}

func (a *API) deadLetters(ctx context.Context, in *struct {
	Whose
	Paging
}) (*output[TaskPage], error) {
	tenant, err := a.among(ctx, in.Tenant)
	if err != nil {
		return nil, err
	}
	page, err := a.Tasks.DeadLetters(ctx, tenant, in.Limit, in.Cursor)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	return presentPage(page), nil
}
