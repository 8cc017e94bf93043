package queue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

// view is a task as it is stored: a large result is only named.
type view struct {
	Task
	output string
	depth  int // of its ancestors
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
	for page := range slices.Chunk(ids, scanPage) {
		views, err := q.views(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, v := range views {
			tasks = append(tasks, brief(&v.Task))
		}
	}
	return tasks, nil
}

// views reads tasks; those that are unknown are left out.
func (q *Redis) views(ctx context.Context, ids []string) ([]view, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	keys := make([]string, 0, 3*len(ids))
	for _, id := range ids {
		keys = append(keys, q.taskKey(id), q.runKey(id), q.endKey(id))
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading tasks: %w", err)
	}
	views := make([]view, 0, len(ids))
	for i, id := range ids {
		v, found, err := newView(id, values[3*i:3*i+3])
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", id, err)
		}
		if found {
			views = append(views, v)
		}
	}
	return views, nil
}

// newView puts a task together from its record, its standing and its outcome, in that order.
func newView(id string, values []any) (view, bool, error) {
	var rec record
	if found, err := decode(values[0], &rec); !found || err != nil {
		return view{}, false, err
	}
	v := view{Task: rec.task(id), depth: rec.Depth}
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
