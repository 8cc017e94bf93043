package queue

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// inlineBytes is how much output stays with its outcome, which saves a key for most tasks.
	inlineBytes = 2 << 10

	// outputGrace is how much longer an output is kept than the outcome that names it.
	outputGrace = time.Minute
)

// ending is an outcome on its way into the store.
type ending struct {
	id     string
	bytes  int // of the task's record
	state  State
	value  string  // of end/<id>
	output string  // names the result that is kept apart; empty for none
	result *Result // kept apart

	set    *redis.StatusCmd
	expire *redis.Cmd
	letter *redis.StringCmd // nil unless Dead
}

func newEnding(id string, bytes int, out Outcome) (*ending, error) {
	e := &ending{id: id, bytes: bytes, state: out.State}
	if r := out.Result; r != nil && len(r.Stdout)+len(r.Stderr) > inlineBytes {
		e.output, e.result, out.Result = rand.Text()[:8], r, nil
	}
	var err error
	e.value, err = encode(ended{out, e.output})
	return e, err
}

// won reports whether the outcome is the task's first. A record gets its expiry with its first outcome
// and only then, so an outcome that is new to a record with an expiry, or to none, came too late as well.
func (e *ending) won() bool { return e.set.Err() == nil && e.first() }

func (e *ending) first() bool {
	changed, err := e.expire.Int()
	return err == nil && changed == 1
}

// end records outcomes; nil ones are passed over. One transaction, so that record and outcome always expire
// together: a record without its outcome would show a finished task as queued, an outcome without its record
// would swallow the next task of the same idempotency key. What a loser leaves behind is taken away.
func (q *Redis) end(ctx context.Context, endings []*ending) error {
	if err := q.putOutputs(ctx, endings); err != nil {
		return err
	}
	cmds, err := q.db.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range endings {
			if e != nil {
				q.queueEnd(ctx, p, e)
			}
		}
		return nil
	})
	if err := firstError(cmds, err); err != nil {
		return err
	}
	_, err = q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, e := range endings {
			if e != nil && !e.won() {
				q.queueUndo(ctx, p, e)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("taking back what came too late: %w", err)
	}
	return nil
}

// putOutputs stores large results ahead of the outcomes that name them, some of them at a time.
func (q *Redis) putOutputs(ctx context.Context, endings []*ending) error {
	pipe, queued := q.db.Pipeline(), 0
	for _, e := range endings {
		if e == nil || e.output == "" {
			continue
		}
		value, err := encode(e.result)
		if err != nil {
			return err
		}
		pipe.Set(ctx, q.outputKey(e.id, e.output), value, q.ttl(e.state)+outputGrace)
		if queued += len(value); queued < chunkBytes {
			continue
		}
		if _, err := pipe.Exec(ctx); err != nil {
			return fmt.Errorf("storing results: %w", err)
		}
		queued = 0
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("storing results: %w", err)
	}
	return nil
}

func (q *Redis) queueEnd(ctx context.Context, p redis.Pipeliner, e *ending) {
	ttl := q.ttl(e.state)
	if e.state == Dead {
		e.letter = p.XAdd(ctx, &redis.XAddArgs{Stream: q.deadKey(), Values: []string{
			"id", e.id, "bytes", strconv.Itoa(e.bytes),
		}})
	}
	e.set = p.SetArgs(ctx, q.endKey(e.id), e.value, redis.SetArgs{Mode: "NX", TTL: ttl})
	// go-redis has no typed form of PEXPIRE with NX.
	e.expire = p.Do(ctx, "PEXPIRE", q.taskKey(e.id), ttl.Milliseconds(), "NX")
}

func (q *Redis) queueUndo(ctx context.Context, p redis.Pipeliner, e *ending) {
	if e.letter != nil {
		p.XDel(ctx, q.deadKey(), e.letter.Val())
	}
	if e.output != "" {
		p.Del(ctx, q.outputKey(e.id, e.output))
	}
	if e.set.Err() == nil {
		p.Del(ctx, q.endKey(e.id))
	}
}
