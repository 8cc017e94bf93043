package queue

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Renew extends the leases that are still ours and publishes their progress.
func (q *Redis) Renew(ctx context.Context, held []Progress) (Renewal, error) {
	var out Renewal
	if len(held) == 0 {
		return out, nil
	}
	owned, err := q.owned(ctx, held)
	if err != nil {
		return out, err
	}
	ends, err := q.ends(ctx, held)
	if err != nil {
		return out, err
	}
	var keep []Progress
	for i, p := range held {
		switch {
		case ends[i] != nil:
			out.Ended = append(out.Ended, p.Lease.Entry)
		case !owned[p.Lease.Entry]:
			out.Lost = append(out.Lost, p.Lease.Entry)
		default:
			keep = append(keep, p)
		}
	}
	return out, q.extend(ctx, keep)
}

// owned asks before extending: XCLAIM would take a lease back from whoever reclaimed it.
func (q *Redis) owned(ctx context.Context, held []Progress) (map[string]bool, error) {
	cmds := make([]*redis.XPendingExtCmd, len(held))
	_, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, h := range held {
			cmds[i] = p.XPendingExt(ctx, &redis.XPendingExtArgs{
				Stream: q.readyKey(), Group: group, Consumer: q.consumer,
				Start: h.Lease.Entry, End: h.Lease.Entry, Count: 1,
			})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("checking leases: %w", err)
	}
	owned := make(map[string]bool, len(held))
	for i, cmd := range cmds {
		owned[held[i].Lease.Entry] = len(cmd.Val()) == 1
	}
	return owned, nil
}

func (q *Redis) ends(ctx context.Context, held []Progress) ([]any, error) {
	keys := make([]string, len(held))
	for i, p := range held {
		keys[i] = q.endKey(p.Lease.Task.ID)
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("looking for outcomes: %w", err)
	}
	return values, nil
}

func (q *Redis) extend(ctx context.Context, held []Progress) error {
	if len(held) == 0 {
		return nil
	}
	entries := make([]string, len(held))
	_, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, h := range held {
			entries[i] = h.Lease.Entry
			value, err := encode(progress{h.State, h.Lease.Attempt, h.StartedAt, h.Fault})
			if err != nil {
				return err
			}
			p.Set(ctx, q.runKey(h.Lease.Task.ID), value, 2*q.opt.Lease)
		}
		p.XClaimJustID(ctx, &redis.XClaimArgs{
			Stream: q.readyKey(), Group: group, Consumer: q.consumer, Messages: entries,
		})
		return nil
	})
	if err != nil {
		return fmt.Errorf("renewing leases: %w", err)
	}
	return nil
}

// Retry begins the next attempt of a task that the caller still holds; the store counts it.
// Errors: ErrLeaseLost when somebody else holds it or it is finished.
func (q *Redis) Retry(ctx context.Context, lease Lease) (Lease, error) {
	owned, err := q.owned(ctx, []Progress{{Lease: lease}})
	if err != nil {
		return lease, err
	}
	if !owned[lease.Entry] {
		return lease, ErrLeaseLost
	}
	messages, err := q.db.XClaim(ctx, &redis.XClaimArgs{
		Stream: q.readyKey(), Group: group, Consumer: q.consumer, Messages: []string{lease.Entry},
	}).Result()
	if err != nil {
		return lease, fmt.Errorf("beginning another attempt: %w", err)
	}
	if len(messages) == 0 {
		return lease, ErrLeaseLost
	}
	lease.Attempt++
	return lease, nil
}

// Release hands leases back at once, as if they had expired, without charging them an attempt.
// Those that somebody else holds by now are left alone.
func (q *Redis) Release(ctx context.Context, leases []Lease) error {
	if len(leases) == 0 {
		return nil
	}
	held := make([]Progress, len(leases))
	for i, l := range leases {
		held[i] = Progress{Lease: l}
	}
	owned, err := q.owned(ctx, held)
	if err != nil {
		return fmt.Errorf("handing leases back: %w", err)
	}
	_, err = q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, l := range leases {
			if owned[l.Entry] {
				q.queueRelease(ctx, p, l)
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("handing leases back: %w", err)
	}
	return nil
}

func (q *Redis) queueRelease(ctx context.Context, p redis.Pipeliner, l Lease) {
	p.Del(ctx, q.runKey(l.Task.ID))
	// go-redis has no typed form of XCLAIM with IDLE and RETRYCOUNT.
	p.Do(ctx, "XCLAIM", q.readyKey(), group, q.consumer, 0, l.Entry,
		"IDLE", q.opt.Lease.Milliseconds()*2, "RETRYCOUNT", l.Attempt-1, "JUSTID")
}
