package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Change is what becomes of one task. All that is in it is recorded, or nothing.
type Change struct {
	Task     string
	Class    Class
	Bytes    int       // of its record
	Outcome  *Outcome  // its end,
	Standing *Standing // or where it stands
	Begun    bool      // it may have a standing
	Settled  []string  // entries that ask for nothing any more
	Move     *Entry    // an entry to append again and settle: see Stale
}

// Record writes changes in one transaction. It can be repeated after an error: what has ended
// stays as it is. Errors: ErrFenced when the term has ended, and nothing was written.
func (q *Redis) Record(ctx context.Context, term Term, changes []Change) error {
	writes, keys, err := q.prepare(changes)
	if err != nil {
		return err
	}
	if err := q.putOutputs(ctx, writes); err != nil {
		return err
	}
	err = q.within(ctx, term, keys, func(f fence) error {
		return f.exec(func(p redis.Pipeliner) error {
			var settled, begun []string
			for i, w := range writes {
				if keys != nil && f.read[i] == nil {
					if err := q.write(ctx, p, w); err != nil {
						return err
					}
				}
				settled = append(settled, w.Settled...)
				if w.Outcome != nil && w.Begun {
					begun = append(begun, q.runKey(w.Task))
				}
			}
			if len(begun) > 0 {
				p.Del(ctx, begun...)
			}
			if len(settled) > 0 {
				p.XAck(ctx, q.logKey(), group, settled...)
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

// write is a change with what it says in the store's form.
type write struct {
	Change
	value  string
	output string  // names the result that is kept apart; empty for none
	result *Result // kept apart, to be stored with the change
}

func (q *Redis) prepare(changes []Change) ([]write, []string, error) {
	writes, keys := make([]write, len(changes)), make([]string, len(changes))
	for i, c := range changes {
		w, err := prepare(c)
		if err != nil {
			return nil, nil, err
		}
		writes[i], keys[i] = w, q.endKey(c.Task)
	}
	return writes, keys, nil
}

func prepare(c Change) (write, error) {
	w := write{Change: c}
	var err error
	switch {
	case c.Outcome != nil:
		end := apart(*c.Outcome)
		w.output = end.Output
		if c.Outcome.output == "" && w.output != "" {
			w.result = c.Outcome.Result
		}
		w.value, err = encode(end)
	case c.Standing != nil:
		s := standing{Standing: *c.Standing}
		if own := c.Standing.Own; own != nil {
			end := apart(*own)
			s.End, w.output = &end, end.Output
			if own.output == "" && w.output != "" {
				w.result = own.Result
			}
		}
		w.value, err = encode(s)
	}
	return w, err
}

func (q *Redis) write(ctx context.Context, p redis.Pipeliner, w write) error {
	switch {
	case w.Outcome != nil:
		q.writeEnd(ctx, p, w)
	case w.Standing != nil:
		p.Set(ctx, q.runKey(w.Task), w.value, 0)
	}
	if w.Move != nil {
		fields, err := w.Move.fields()
		if err != nil {
			return err
		}
		p.XAdd(ctx, &redis.XAddArgs{Stream: q.logKey(), Values: fields})
		p.XAck(ctx, q.logKey(), group, w.Move.ID)
	}
	return nil
}

// writeEnd makes record and outcome expire together: a record without its outcome would show a finished task as
// queued, an outcome without its record would swallow the next task of the same idempotency key.
func (q *Redis) writeEnd(ctx context.Context, p redis.Pipeliner, w write) {
	ttl := q.ttl(w.Outcome.State)
	p.Set(ctx, q.endKey(w.Task), w.value, ttl)
	p.PExpire(ctx, q.taskKey(w.Task), ttl)
	if w.output != "" {
		p.PExpire(ctx, q.outputKey(w.Task, w.output), ttl+outputGrace)
	}
	if w.Outcome.State == Dead {
		p.XAdd(ctx, &redis.XAddArgs{Stream: q.deadKey(), Values: []string{
			"id", w.Task, "bytes", strconv.Itoa(w.Bytes),
		}})
	}
}

func (q *Redis) ttl(state State) time.Duration {
	if state == Dead {
		return q.opt.DeadTTL
	}
	return q.opt.ResultTTL
}
