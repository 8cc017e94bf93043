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
	Move     *Entry    // an entry to append again; the old one stays until the new one is read: see schedule.Machine.Move
}

// Record writes changes in one transaction; what has ended stays as it is. After any error but ErrFenced they may have
// been written, or not: they are to be recorded `again`, which is harmless where they were; without that word, a dead
// letter that was put back meanwhile would end once more. Errors: ErrFenced when the term has ended, and nothing was
// written.
func (q *Redis) Record(ctx context.Context, term Term, changes []Change, again bool) error {
	if again {
		recorded, err := q.recorded(ctx, changes)
		if err != nil || recorded {
			return err
		}
	}
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

// recorded says whether changes were written, by what the ends among them settle: without any, twice is as good as once.
func (q *Redis) recorded(ctx context.Context, changes []Change) (bool, error) {
	var pending []*redis.XPendingExtCmd
	_, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, c := range changes {
			for _, id := range c.Settled {
				if c.Outcome != nil {
					pending = append(pending, p.XPendingExt(ctx, &redis.XPendingExtArgs{
						Stream: q.logKey(), Group: group, Start: id, End: id, Count: 1,
					}))
				}
			}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("asking what is recorded: %w", err)
	}
	for _, cmd := range pending {
		if len(cmd.Val()) > 0 {
			return false, nil
		}
	}
	return len(pending) > 0, nil
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
		moved := *w.Move
		moved.moved = true
		fields, err := moved.fields()
		if err != nil {
			return err
		}
		p.XAdd(ctx, &redis.XAddArgs{Stream: q.logKey(), Values: fields})
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
