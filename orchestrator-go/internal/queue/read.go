package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Read leases up to limit tasks that nobody had before, waiting up to block for the first.
// None within that time is an empty result.
func (q *Redis) Read(ctx context.Context, limit int, block time.Duration) ([]Lease, error) {
	streams, err := q.db.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: q.consumer, Streams: []string{q.readyKey(), ">"},
		Count: int64(limit), Block: block,
	}).Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		// The store came back empty; whatever is enqueued from now on is worth reading.
		return nil, q.Open(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the queue: %w", err)
	}
	var leases []Lease
	for _, stream := range streams {
		got, err := q.take(ctx, stream.Messages, nil)
		if err != nil {
			return nil, err
		}
		leases = append(leases, got...)
	}
	return leases, nil
}

// Reclaim leases up to limit tasks whose holders went silent for the lease time, except those
// that the caller holds: its own leases run late when the store was away, and are still its own.
func (q *Redis) Reclaim(ctx context.Context, limit int, held func(entry string) bool) ([]Lease, error) {
	idle, err := q.db.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: q.readyKey(), Group: group, Idle: q.opt.Lease, Start: "-", End: "+", Count: int64(limit),
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("looking for expired leases: %w", err)
	}
	deliveries, entries := map[string]int64{}, []string{}
	for _, p := range idle {
		if !held(p.ID) {
			deliveries[p.ID] = p.RetryCount
			entries = append(entries, p.ID)
		}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	// MinIdle makes the claim atomic: of two replicas that saw the same entry, the second gets nothing.
	messages, err := q.db.XClaim(ctx, &redis.XClaimArgs{
		Stream: q.readyKey(), Group: group, Consumer: q.consumer, MinIdle: q.opt.Lease, Messages: entries,
	}).Result()
	if err != nil {
		return nil, fmt.Errorf("claiming expired leases: %w", err)
	}
	return q.take(ctx, messages, deliveries)
}

// take turns delivered entries into leases and acknowledges those that ask for nothing:
// stale generations, and tasks that have ended, such as cancelled ones.
func (q *Redis) take(ctx context.Context, messages []redis.XMessage, deliveries map[string]int64) ([]Lease, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	keys := make([]string, 0, 2*len(messages))
	for _, m := range messages {
		id, _ := m.Values["id"].(string)
		keys = append(keys, q.taskKey(id), q.endKey(id))
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading delivered tasks: %w", err)
	}
	leases, spent := make([]Lease, 0, len(messages)), []string(nil)
	for i, m := range messages {
		id, _ := m.Values["id"].(string)
		var rec record
		found, err := decode(values[2*i], &rec)
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", id, err)
		}
		if !found || rec.Generation != m.Values["generation"] || values[2*i+1] != nil {
			spent = append(spent, m.ID)
			continue
		}
		leases = append(leases, Lease{Entry: m.ID, Task: rec.task(id), Attempt: int(deliveries[m.ID]) + 1})
	}
	return leases, q.acknowledge(ctx, spent)
}

func (q *Redis) acknowledge(ctx context.Context, entries []string) error {
	if len(entries) == 0 {
		return nil
	}
	if err := q.db.XAck(ctx, q.readyKey(), group, entries...).Err(); err != nil {
		return fmt.Errorf("acknowledging: %w", err)
	}
	return nil
}
