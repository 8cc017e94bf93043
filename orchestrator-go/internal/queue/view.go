package queue

import (
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	scanPage = 256
	maxScan  = 16 * scanPage // entries looked at for one page of a filtered listing
)

var cursorForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)

// Get returns one task. Errors: ErrNotFound.
func (q *Redis) Get(ctx context.Context, id string) (Task, error) {
	tasks, err := q.views(ctx, []string{id})
	if err != nil {
		return Task{}, err
	}
	if len(tasks) == 0 {
		return Task{}, ErrNotFound
	}
	return tasks[0], nil
}

// List returns tasks, newest first; an empty state means all. A page may be short, even
// empty, and still have a cursor: a call looks at a bounded number of tasks.
func (q *Redis) List(ctx context.Context, state State, limit int, cursor string) (Page, error) {
	return q.walk(ctx, q.readyKey(), limit, cursor, func(t Task) bool { return state == "" || t.State == state })
}

// DeadLetters returns the tasks whose attempts ran out, newest first.
func (q *Redis) DeadLetters(ctx context.Context, limit int, cursor string) (Page, error) {
	return q.walk(ctx, q.deadKey(), limit, cursor, func(t Task) bool { return t.State == Dead })
}

// walk pages backwards through a stream of task ids.
func (q *Redis) walk(ctx context.Context, key string, limit int, cursor string, want func(Task) bool) (Page, error) {
	page, seen, end := Page{Tasks: []Task{}}, map[string]bool{}, "+"
	if cursor != "" {
		if !cursorForm.MatchString(cursor) {
			return page, ErrBadCursor
		}
		end = "(" + cursor
	}
	for scanned := 0; scanned < maxScan; scanned += scanPage {
		entries, err := q.db.XRevRangeN(ctx, key, end, "-", scanPage).Result()
		if err != nil {
			return page, fmt.Errorf("listing: %w", err)
		}
		tasks, err := q.byEntry(ctx, entries)
		if err != nil {
			return page, err
		}
		for _, e := range entries {
			id := taskID(e)
			page.Cursor, end = e.ID, "("+e.ID
			if t, ok := tasks[id]; !ok || seen[id] || !want(t) {
				continue
			}
			seen[id] = true
			page.Tasks = append(page.Tasks, tasks[id])
			if len(page.Tasks) == limit {
				return page, nil
			}
		}
		if len(entries) < scanPage {
			page.Cursor = ""
			return page, nil
		}
	}
	return page, nil
}

func (q *Redis) byEntry(ctx context.Context, entries []redis.XMessage) (map[string]Task, error) {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = taskID(e)
	}
	tasks, err := q.views(ctx, ids)
	byID := make(map[string]Task, len(tasks))
	for _, t := range tasks {
		byID[t.ID] = t
	}
	return byID, err
}

// views reads tasks; those that are unknown are left out.
func (q *Redis) views(ctx context.Context, ids []string) ([]Task, error) {
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
	tasks := make([]Task, 0, len(ids))
	for i, id := range ids {
		task, found, err := view(id, values[3*i:3*i+3])
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", id, err)
		}
		if found {
			tasks = append(tasks, task)
		}
	}
	return tasks, nil
}

// view puts a task together from its record, its progress and its outcome, in that order.
func view(id string, values []any) (Task, bool, error) {
	var rec record
	if found, err := decode(values[0], &rec); !found || err != nil {
		return Task{}, false, err
	}
	task := rec.task(id)
	var run progress
	if found, err := decode(values[1], &run); err != nil {
		return task, false, err
	} else if found {
		task.State, task.Attempts, task.Fault, task.StartedAt = run.State, run.Attempts, run.Fault, &run.StartedAt
	}
	var out Outcome
	if found, err := decode(values[2], &out); err != nil {
		return task, false, err
	} else if found {
		task.State, task.Attempts, task.Result, task.Fault = out.State, out.Attempts, out.Result, out.Fault
		task.StartedAt, task.FinishedAt = orNil(out.StartedAt), &out.FinishedAt
	}
	return task, true, nil
}

func orNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
