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
	recorded := make([]bool, len(done))
	sets := make([]*redis.StatusCmd, len(done))
	cmds, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range done {
			if c.Outcome == nil {
				continue
			}
			set, err := q.end(ctx, p, c.Lease.Task.ID, *c.Outcome)
			if err != nil {
				return err
			}
			sets[i] = set
		}
		return nil
	})
	if err := firstError(cmds, err); err != nil {
		return nil, fmt.Errorf("recording outcomes: %w", err)
	}
	entries := make([]string, len(done))
	for i, c := range done {
		entries[i] = c.Lease.Entry
		recorded[i] = sets[i] != nil && sets[i].Err() == nil
	}
	// A round trip of its own: an entry acknowledged without its outcome stored would be lost work.
	return recorded, q.acknowledge(ctx, entries)
}

// end queues the commands that record an outcome. The dead letter goes first: one
// that lost the race is skipped when listed, but a missing one would be lost for good.
func (q *Redis) end(ctx context.Context, p redis.Pipeliner, id string, out Outcome) (*redis.StatusCmd, error) {
	value, err := encode(out)
	if err != nil {
		return nil, err
	}
	ttl := q.ttl(out.State)
	if out.State == Dead {
		p.XAdd(ctx, &redis.XAddArgs{Stream: q.deadKey(), Values: []string{"id", id}})
	}
	set := p.SetArgs(ctx, q.endKey(id), value, redis.SetArgs{Mode: "NX", TTL: ttl})
	p.PExpire(ctx, q.taskKey(id), ttl)
	return set, nil
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
	if err != nil || task.State == Cancelled {
		return task, err
	}
	out := Outcome{State: Cancelled, Attempts: task.Attempts, FinishedAt: time.Now().UTC()}
	if task.StartedAt != nil {
		out.StartedAt = *task.StartedAt
	}
	cmds, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		_, err := q.end(ctx, p, id, out)
		return err
	})
	if err := firstError(cmds, err); err != nil {
		return task, fmt.Errorf("cancelling: %w", err)
	}
	task, err = q.Get(ctx, id)
	if err == nil && task.State != Cancelled {
		return task, ErrFinished
	}
	return task, err
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
