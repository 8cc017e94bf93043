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
// None within that time is an empty result. Leases that come with an error are as good as any.
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
	var messages []redis.XMessage
	for _, stream := range streams {
		messages = append(messages, stream.Messages...)
	}
	return q.deliver(ctx, messages, nil)
}

// Reclaim leases up to limit tasks whose holders went silent for the lease time, except those
// that the caller holds: its own leases run late when the store was away, and are still its own.
// Leases that come with an error are as good as any.
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
	return q.deliver(ctx, messages, deliveries)
}

// deliver turns entries into leases that the store has just charged with a delivery; before is how many each had
// until then. It finishes whatever becomes of ctx, and what it cannot read it hands back: entries forgotten here
// would come back only when their leases expire, charged with an attempt that nobody made.
func (q *Redis) deliver(ctx context.Context, messages []redis.XMessage, before map[string]int64) ([]Lease, error) {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.opt.Lease)
	defer cancel()
	var d delivery
	for rest := messages; len(rest) > 0; {
		n, _ := fitting(rest)
		values, err := q.load(bounded, rest[:n])
		if err != nil {
			d.faults = append(d.faults, err, q.handBack(ctx, rest, before))
			break
		}
		d.sort(rest[:n], values, before)
		rest = rest[n:]
	}
	return d.leases, errors.Join(append(d.faults, q.acknowledge(bounded, d.spent))...)
}

// load reads the record and the outcome of each entry's task, in that order.
func (q *Redis) load(ctx context.Context, messages []redis.XMessage) ([]any, error) {
	keys := make([]string, 0, 2*len(messages))
	for _, m := range messages {
		keys = append(keys, q.taskKey(taskID(m)), q.endKey(taskID(m)))
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading delivered tasks: %w", err)
	}
	return values, nil
}

// delivery is what became of delivered entries.
type delivery struct {
	leases []Lease
	spent  []string // ask for nothing: stale generations, and tasks that have ended, such as cancelled ones
	faults []error
}

// sort takes entries with the values that load read. A record of another version is left to its
// lease; perhaps a process that can read it takes it over.
func (d *delivery) sort(messages []redis.XMessage, values []any, before map[string]int64) {
	for i, m := range messages {
		var rec record
		found, err := decode(values[2*i], &rec)
		switch {
		case err != nil:
			d.faults = append(d.faults, fmt.Errorf("task %s: %w", taskID(m), err))
		case !found || rec.Generation != m.Values["generation"] || values[2*i+1] != nil:
			d.spent = append(d.spent, m.ID)
		default:
			d.leases = append(d.leases, Lease{
				Entry: m.ID, Task: rec.task(taskID(m)), Attempt: int(before[m.ID]) + 1, bytes: cost(m) - asideBytes,
			})
		}
	}
}

func taskID(m redis.XMessage) string {
	id, _ := m.Values["id"].(string) // absent from an entry of somebody else: no task has the id ""
	return id
}

// handBack frees entries that were delivered in vain, whatever became of ctx.
func (q *Redis) handBack(ctx context.Context, messages []redis.XMessage, before map[string]int64) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), q.opt.Lease)
	defer cancel()
	leases := make([]Lease, len(messages))
	for i, m := range messages {
		leases[i] = Lease{Entry: m.ID, Task: Task{ID: taskID(m)}, Attempt: int(before[m.ID]) + 1}
	}
	return q.Release(ctx, leases)
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
