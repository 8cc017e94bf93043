package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// Finish records outcomes and gives the leases up. It reports, for each completion, whether its
// outcome is the one recorded: the first terminal write of a task wins, whoever makes it.
// After an error the call can be repeated as it is.
func (q *Redis) Finish(ctx context.Context, done []Completion) ([]bool, error) {
	endings, entries := make([]*ending, len(done)), make([]string, len(done))
	for i, c := range done {
		entries[i] = c.Lease.Entry
		if c.Outcome == nil {
			continue
		}
		e, err := newEnding(c.Lease.Task.ID, c.Lease.bytes, *c.Outcome)
		if err != nil {
			return nil, err
		}
		endings[i] = e
	}
	if err := q.end(ctx, endings); err != nil {
		return nil, fmt.Errorf("recording outcomes: %w", err)
	}
	recorded := make([]bool, len(done))
	for i, e := range endings {
		recorded[i] = e != nil && e.won()
	}
	// A round trip of its own: an entry acknowledged without its outcome stored would be lost work.
	return recorded, q.acknowledge(ctx, entries)
}

func (q *Redis) ttl(state State) time.Duration {
	if state == Dead {
		return q.opt.DeadTTL
	}
	return q.opt.ResultTTL
}

// Cancel ends a task that has not ended. A running attempt learns of it at its next renewal.
// Errors: ErrNotFound; ErrFinished when it ended in another way.
func (q *Redis) Cancel(ctx context.Context, id string) (Task, error) {
	task, err := q.Get(ctx, id)
	if err != nil {
		return task, err
	}
	if task.FinishedAt != nil {
		return cancelled(task)
	}
	out := Outcome{State: Cancelled, Attempts: task.Attempts, FinishedAt: time.Now().UTC()}
	if task.StartedAt != nil {
		out.StartedAt = *task.StartedAt
	}
	e, err := newEnding(id, 0, out)
	if err != nil {
		return task, err
	}
	if err := q.end(ctx, []*ending{e}); err != nil {
		return task, fmt.Errorf("cancelling: %w", err)
	}
	if task, err = q.Get(ctx, id); err != nil {
		return task, err
	}
	return cancelled(task)
}

func cancelled(task Task) (Task, error) {
	if task.State != Cancelled {
		return task, ErrFinished
	}
	return task, nil
}

// firstError is the first real error of a pipeline: an absent value or a refused SET NX is none.
func firstError(cmds []redis.Cmder, err error) error {
	if err == nil || !errors.Is(err, redis.Nil) {
		return err
	}
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	return nil
}
