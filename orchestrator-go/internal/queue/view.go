package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// view is a task as it is stored: a large result is only named.
type view struct {
	Task
	output string
	depth  int // of its ancestors

	generation    string
	before, after string // see record
}

// Get returns one task. Errors: ErrNotFound.
func (q *Redis) Get(ctx context.Context, id string) (Task, error) {
	views, err := q.views(ctx, []string{id})
	if err != nil {
		return Task{}, err
	}
	if len(views) == 0 {
		return Task{}, ErrNotFound
	}
	task := views[0].Task
	if name := views[0].output; name != "" {
		task.Result, err = q.result(ctx, id, name)
	}
	return task, err
}

func (q *Redis) result(ctx context.Context, id, name string) (*Result, error) {
	text, err := q.db.Get(ctx, q.outputKey(id, name)).Result()
	if errors.Is(err, redis.Nil) {
		return nil, ErrNotFound // it outlives the outcome that names it: all of the task has expired meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("reading the task's result: %w", err)
	}
	var result Result
	_, err = decode(text, &result)
	return &result, err
}

// GetMany reads tasks as listings show them, in no order; those that are unknown are left out.
func (q *Redis) GetMany(ctx context.Context, ids []string) ([]Task, error) {
	tasks := make([]Task, 0, len(ids))
	err := q.eachView(ctx, ids, func(v *view) { tasks = append(tasks, brief(&v.Task)) })
	return tasks, err
}

const (
	// How many tasks of unknown sizes are read at once, first and at most.
	fewUnknown, mostUnknown = 8, 64
)

// eachView reads tasks of which nothing tells how large they are: some at a time, as many as would have been about
// chunkBytes last time. What do is given is gone after it.
func (q *Redis) eachView(ctx context.Context, ids []string, do func(*view)) error {
	for n := fewUnknown; len(ids) > 0; {
		page := ids[:min(n, len(ids))]
		ids = ids[len(page):]
		views, bytes, err := q.sizedViews(ctx, page)
		if err != nil {
			return err
		}
		for i := range views {
			do(&views[i])
		}
		n = min(max(1, len(page)*chunkBytes/max(bytes, 1)), 2*len(page), mostUnknown)
	}
	return nil
}

// views reads tasks; those that are unknown are left out.
func (q *Redis) views(ctx context.Context, ids []string) ([]view, error) {
	views, _, err := q.sizedViews(ctx, ids)
	return views, err
}

// sizedViews also says how many bytes were read.
func (q *Redis) sizedViews(ctx context.Context, ids []string) (views []view, bytes int, err error) {
	if len(ids) == 0 {
		return nil, 0, nil
	}
	keys := make([]string, 0, 3*len(ids))
	for _, id := range ids {
		keys = append(keys, q.taskKey(id), q.runKey(id), q.endKey(id))
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, 0, fmt.Errorf("reading tasks: %w", err)
	}
	for _, value := range values {
		text, _ := value.(string) // of what is absent, none
		bytes += len(text)
	}
	views = make([]view, 0, len(ids))
	for i, id := range ids {
		v, found, err := newView(id, values[3*i:3*i+3])
		if err != nil {
			return nil, 0, fmt.Errorf("task %s: %w", id, err)
		}
		if found {
			views = append(views, v)
		}
	}
	return views, bytes, nil
}

// newView puts a task together from its record, its standing and its outcome, in that order.
func newView(id string, values []any) (view, bool, error) {
	var rec record
	if found, err := decode(values[0], &rec); !found || err != nil {
		return view{}, false, err
	}
	v := view{Task: rec.task(id), depth: rec.Depth, generation: rec.Generation, before: rec.Before, after: rec.After}
	if rec.Spec.Scope {
		v.State = Waiting
	}
	var run standing
	if found, err := decode(values[1], &run); err != nil {
		return v, false, err
	} else if found {
		v.State, v.Attempts, v.Fault, v.StartedAt, v.Place = run.State, run.Attempts, run.Fault, orNil(run.StartedAt), run.Place
		v.History, v.Children, v.SpentMS, v.Closed = run.History, run.Children, run.SpentMS, run.Closed
		if run.End != nil {
			v.Result, v.Fault, v.output = run.End.Result, run.End.Fault, run.End.Output
		}
	}
	var out ended
	if found, err := decode(values[2], &out); err != nil {
		return v, false, err
	} else if found {
		v.State, v.Attempts, v.Result, v.Fault = out.State, out.Attempts, out.Result, out.Fault
		v.StartedAt, v.FinishedAt, v.output = orNil(out.StartedAt), &out.FinishedAt, out.Output
		v.Place, v.History, v.Children, v.SpentMS, v.Closed = out.Place, out.History, out.Children, out.SpentMS, rec.Spec.Scope
	}
	return v, true, nil
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
