package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// requestPatience is how long a request about a task waits to see its effect; it is carried out in any case.
	requestPatience = 3 * time.Second

	firstLook, lastLook = 2 * time.Millisecond, 100 * time.Millisecond
)

// Cancel has a task that has not ended end, after its children. The task that is returned has ended unless that
// takes its time: no process leads, or a job of its own has yet to stop.
// Errors: ErrNotFound; ErrFinished when it ended in another way.
func (q *Redis) Cancel(ctx context.Context, id string) (Task, error) {
	task, err := q.Get(ctx, id)
	if err == nil && !task.State.Terminal() {
		task, err = q.request(ctx, OpCancel, id, func(t *Task) bool { return t.State.Terminal() })
	}
	if err == nil && task.State.Terminal() && task.State != Cancelled {
		err = ErrFinished
	}
	return task, err
}

// CloseScope has a scope end once the children that it has by now have ended.
// Errors: ErrNotFound, ErrNotScope, ErrFinished.
func (q *Redis) CloseScope(ctx context.Context, id string) (Task, error) {
	task, err := q.Get(ctx, id)
	switch {
	case err != nil:
		return task, err
	case !task.Spec.Scope:
		return task, ErrNotScope
	case task.State.Terminal():
		return task, ErrFinished
	}
	return q.request(ctx, OpClose, id, func(t *Task) bool { return t.Closed || t.State.Terminal() })
}

// request appends a request to the log, where the leader finds it, and looks for its effect.
func (q *Redis) request(ctx context.Context, op Op, id string, done func(*Task) bool) (Task, error) {
	err := q.db.XAdd(ctx, &redis.XAddArgs{Stream: q.logKey(), Values: []string{"id", id, "op", string(op), "bytes", "0"}}).Err()
	if err != nil {
		return Task{}, fmt.Errorf("asking the leader: %w", err)
	}
	until := time.Now().Add(requestPatience)
	for wait := firstLook; ; wait = min(2*wait, lastLook) {
		task, err := q.Get(ctx, id)
		if err != nil || done(&task) || time.Now().After(until) {
			return task, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return task, ctx.Err()
		}
	}
}
