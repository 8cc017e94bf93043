package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// fence is a connection that watches keys, with what it saw of the lease.
type fence struct {
	ctx    context.Context
	conn   *redis.Conn
	epoch  int64
	leader string // empty when the lease has run out
	read   []any  // the values that were asked for along with it
}

// exec ends the watching, with a transaction or, where there is nothing to do, without.
func (f fence) exec(fill func(redis.Pipeliner) error) error {
	pipe := f.conn.TxPipeline()
	if err := fill(pipe); err != nil {
		return err
	}
	if pipe.Len() == 0 {
		return f.conn.Do(f.ctx, "UNWATCH").Err()
	}
	cmds, err := pipe.Exec(f.ctx)
	return firstError(cmds, err)
}

// within calls do with a fence that holds as long as the term lasts. Errors: ErrFenced when it has ended.
func (q *Redis) within(ctx context.Context, term Term, read []string, do func(fence) error) error {
	return raced(q.fenced(ctx, []string{q.epochKey()}, read, func(f fence) error {
		if f.epoch != term.Epoch {
			return ErrFenced
		}
		return do(f)
	}))
}

// fenced calls do, whose transaction fails with redis.TxFailedErr when a watched key changes before it.
// Watching and reading are one round trip.
func (q *Redis) fenced(ctx context.Context, watched, read []string, do func(fence) error) error {
	conn := q.db.Conn()
	f, err := q.watch(ctx, conn, watched, read)
	if err == nil {
		err = do(f)
	}
	if err != nil {
		// The connection goes back to others, who must not inherit what it watches.
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		err = errors.Join(err, conn.Do(bounded, "UNWATCH").Err())
	}
	return errors.Join(err, conn.Close())
}

func (q *Redis) watch(ctx context.Context, conn *redis.Conn, watched, read []string) (fence, error) {
	f := fence{ctx: ctx, conn: conn}
	var epoch, leader *redis.StringCmd
	var values *redis.SliceCmd
	cmds, err := conn.Pipelined(ctx, func(p redis.Pipeliner) error {
		args := []any{"WATCH"}
		for _, key := range watched {
			args = append(args, key)
		}
		p.Do(ctx, args...)
		epoch, leader = p.Get(ctx, q.epochKey()), p.Get(ctx, q.leaderKey())
		if len(read) > 0 {
			values = p.MGet(ctx, read...)
		}
		return nil
	})
	if err := firstError(cmds, err); err != nil {
		return f, fmt.Errorf("watching the lease: %w", err)
	}
	if epoch.Err() == nil {
		if f.epoch, err = epoch.Int64(); err != nil {
			return f, fmt.Errorf("reading the epoch: %w", err)
		}
	}
	f.leader = leader.Val()
	if values != nil {
		f.read = values.Val()
	}
	return f, nil
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
