package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// moveGrace is more than the time between two looks for entries to append again.
const moveGrace = time.Minute

// listGrace is how long a listing may take from its first page to its last.
const listGrace = 10 * time.Minute

// consumerTTL is how long a consumer that holds nothing may be silent before it is forgotten.
const consumerTTL = 10 * time.Minute

// Stats counts what is live and dead.
func (q *Redis) Stats(ctx context.Context) (Stats, error) {
	info, err := q.group(ctx)
	if err != nil {
		return Stats{}, err
	}
	dead, err := q.db.XLen(ctx, q.deadKey()).Result()
	if err != nil {
		return Stats{}, fmt.Errorf("counting dead letters: %w", err)
	}
	return Stats{Live: info.live(), Dead: dead}, nil
}

type groupInfo struct {
	lag, pending  int64
	lastDelivered string
}

func (g groupInfo) live() int64 { return g.lag + g.pending }

func (q *Redis) group(ctx context.Context) (groupInfo, error) {
	return workers(q.db.XInfoGroups(ctx, q.logKey()))
}

// workers finds the group of readers in the store's answer.
func workers(cmd *redis.XInfoGroupsCmd) (groupInfo, error) {
	groups, err := cmd.Result()
	if err != nil {
		return groupInfo{}, fmt.Errorf("reading the consumer group: %w", err)
	}
	for _, g := range groups {
		if g.Name == group {
			// The store says -1 where it cannot tell, which takes an entry deleted from the middle; nobody does that here.
			return groupInfo{max(0, g.Lag), g.Pending, g.LastDeliveredID}, nil
		}
	}
	return groupInfo{}, errNoGroup
}

var errNoGroup = fmt.Errorf("the consumer group %q is missing", group)

// Trim forgets entries that are settled and older than any outcome that can still be read,
// dead letters past their time, and consumers of processes that are gone.
func (q *Redis) Trim(ctx context.Context) error {
	cut, err := q.cut(ctx, listGrace)
	if err != nil {
		return err
	}
	if err := q.db.XTrimMinIDApprox(ctx, q.logKey(), cut, 0).Err(); err != nil {
		return fmt.Errorf("trimming the queue: %w", err)
	}
	buried := at(time.Now().Add(-q.opt.DeadTTL))
	if err := q.db.XTrimMinID(ctx, q.deadKey(), buried).Err(); err != nil {
		return fmt.Errorf("trimming dead letters: %w", err)
	}
	return q.forgetConsumers(ctx)
}

// cut is the oldest entry that is needed, or was some time ago. An entry is up to one result's time old when its task
// ends (see Change.Move), and is listed for another.
func (q *Redis) cut(ctx context.Context, ago time.Duration) (string, error) {
	settled, err := q.settledBefore(ctx)
	return older(settled, at(time.Now().Add(-2*q.opt.ResultTTL-moveGrace-ago))), err
}

// settledBefore is the oldest entry that anybody may still need: leased, or not delivered yet.
func (q *Redis) settledBefore(ctx context.Context) (string, error) {
	info, err := q.group(ctx)
	if err != nil {
		return "", err
	}
	if info.pending == 0 {
		return info.lastDelivered, nil
	}
	pending, err := q.db.XPending(ctx, q.logKey(), group).Result()
	if err != nil {
		return "", fmt.Errorf("reading the pending list: %w", err)
	}
	if pending.Count == 0 {
		return info.lastDelivered, nil
	}
	return older(info.lastDelivered, pending.Lower), nil
}

// forgetConsumers drops those of processes that are gone. The leaders are watched: with a consumer goes what it holds,
// and one that held nothing a moment ago may lead by now.
func (q *Redis) forgetConsumers(ctx context.Context) error {
	err := q.fenced(ctx, []string{q.epochKey()}, nil, func(f fence) error {
		consumers, err := f.conn.XInfoConsumers(ctx, q.logKey(), group).Result()
		if err != nil {
			return fmt.Errorf("listing consumers: %w", err)
		}
		return f.exec(func(p redis.Pipeliner) error {
			for _, c := range consumers {
				if c.Pending == 0 && c.Idle >= consumerTTL && c.Name != f.leader && c.Name != q.name {
					p.XGroupDelConsumer(ctx, q.logKey(), group, c.Name)
				}
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, redis.TxFailedErr) {
		return fmt.Errorf("forgetting consumers: %w", err)
	}
	return nil
}

func at(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) + "-0" }

// older returns the smaller of two stream ids.
func older(a, b string) string {
	aTime, aSeq := split(a)
	bTime, bSeq := split(b)
	if bTime < aTime || (bTime == aTime && bSeq < aSeq) {
		return b
	}
	return a
}

// split reads an id that the store itself wrote; anything else counts as 0-0, which trims nothing.
func split(id string) (ms, seq uint64) {
	left, right, _ := strings.Cut(id, "-")
	ms, errMS := strconv.ParseUint(left, 10, 64)
	seq, errSeq := strconv.ParseUint(right, 10, 64)
	if errMS != nil || errSeq != nil {
		return 0, 0
	}
	return ms, seq
}
