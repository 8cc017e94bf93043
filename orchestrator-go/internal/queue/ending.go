package queue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// ending is an outcome on its way into the store.
type ending struct {
	id    string
	state State
	value string // of end/<id>

	set    *redis.StatusCmd
	expire *redis.Cmd
	letter *redis.StringCmd // nil unless Dead
}

func newEnding(id string, out Outcome) (*ending, error) {
	value, err := encode(out)
	return &ending{id: id, state: out.State, value: value}, err
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

func (q *Redis) queueEnd(ctx context.Context, p redis.Pipeliner, e *ending) {
	ttl := q.ttl(e.state)
	if e.state == Dead {
		e.letter = p.XAdd(ctx, &redis.XAddArgs{Stream: q.deadKey(), Values: []string{"id", e.id}})
	}
	e.set = p.SetArgs(ctx, q.endKey(e.id), e.value, redis.SetArgs{Mode: "NX", TTL: ttl})
	// go-redis has no typed form of PEXPIRE with NX.
	e.expire = p.Do(ctx, "PEXPIRE", q.taskKey(e.id), ttl.Milliseconds(), "NX")
}

func (q *Redis) queueUndo(ctx context.Context, p redis.Pipeliner, e *ending) {
	if e.letter != nil {
		p.XDel(ctx, q.deadKey(), e.letter.Val())
	}
	if e.set.Err() == nil {
		p.Del(ctx, q.endKey(e.id))
	}
}
