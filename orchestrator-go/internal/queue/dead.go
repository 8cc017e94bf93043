package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// reviveLock is how long one request may take to put a dead letter back.
const reviveLock = 10 * time.Second

// Revive puts a dead letter back into the queue with all its attempts. It comes back without its parent, which has
// ended since, and without its deadline when that has passed.
// Errors: ErrNotFound, ErrNotDead (also while another request revives it).
func (q *Redis) Revive(ctx context.Context, id string) (Task, error) {
	err := q.db.SetArgs(ctx, q.lockKey(id), "1", redis.SetArgs{Mode: "NX", TTL: reviveLock}).Err()
	if errors.Is(err, redis.Nil) {
		return Task{}, ErrNotDead
	}
	if err != nil {
		return Task{}, fmt.Errorf("locking the dead letter: %w", err)
	}
	task, err := q.revive(ctx, id)
	if unlock := q.db.Del(ctx, q.lockKey(id)).Err(); unlock != nil && err == nil {
		err = fmt.Errorf("unlocking the dead letter: %w", unlock)
	}
	return task, err
}

func (q *Redis) revive(ctx context.Context, id string) (Task, error) {
	task, err := q.Get(ctx, id)
	if err != nil {
		return task, err
	}
	if task.State != Dead {
		return task, ErrNotDead
	}
	task.Spec.Parent = ""
	if time.Now().After(task.Spec.Deadline) {
		task.Spec.Deadline = time.Time{}
	}
	before, err := q.record(ctx, id)
	if err != nil {
		return task, err
	}
	newest, err := q.newest(ctx)
	if err != nil {
		return task, err
	}
	generation, earlier := rand.Text()[:8], before.Earlier+task.Attempts
	value, err := encode(record{
		Spec: task.Spec, Traceparent: task.Traceparent, CreatedAt: task.CreatedAt, Generation: generation,
		Before: before.Generation, After: newest, Earlier: earlier,
	})
	if err != nil {
		return task, err
	}
	meta := metaOf(task.Spec)
	meta.Earlier = earlier
	fields, err := Entry{Task: id, Generation: generation, Meta: meta, Bytes: len(value)}.fields()
	if err != nil {
		return task, err
	}
	letters, err := q.letters(ctx, id)
	if err != nil {
		return task, err
	}
	_, err = q.db.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, q.taskKey(id), value, 0)
		p.Del(ctx, q.endKey(id), q.runKey(id))
		p.XAdd(ctx, &redis.XAddArgs{Stream: q.logKey(), Values: fields})
		if len(letters) > 0 {
			p.XDel(ctx, q.deadKey(), letters...)
		}
		return nil
	})
	if err != nil {
		return task, fmt.Errorf("putting the dead letter back: %w", err)
	}
	return q.Get(ctx, id)
}

// letters finds the entries that name the task; dead letters are few and read by people.
func (q *Redis) letters(ctx context.Context, id string) ([]string, error) {
	var found []string
	for start := "-"; ; {
		entries, err := q.db.XRangeN(ctx, q.deadKey(), start, "+", scanPage).Result()
		if err != nil {
			return nil, fmt.Errorf("finding the dead letter: %w", err)
		}
		for _, e := range entries {
			if e.Values["id"] == id {
				found = append(found, e.ID)
			}
			start = "(" + e.ID
		}
		if len(entries) < scanPage {
			return found, nil
		}
	}
}
