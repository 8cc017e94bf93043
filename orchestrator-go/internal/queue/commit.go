package queue

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// commitTimeout bounds a grouped commit, which belongs to no single request.
const commitTimeout = 10 * time.Second

// room is how many more tasks there may be, up to wanted or beyond. The depth is the one that the latest commit saw:
// asking would cost every commit a round trip, so that is done only where the answer would be a refusal. The bound
// is a soft one therefore: each replica may exceed it by what the others have added since its own latest commit.
// Neither the length of the stream would do, which keeps finished tasks for their time, nor a counter of our own:
// the group of readers counts what has not ended exactly, whoever crashes.
func (q *Redis) room(wanted int) (int, error) {
	if q.opt.MaxQueued == 0 || q.depth+int64(wanted) <= int64(q.opt.MaxQueued) {
		return wanted, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	info, err := q.group(ctx)
	if err != nil {
		return 0, err
	}
	q.depth = info.live()
	return max(0, q.opt.MaxQueued-int(q.depth)), nil
}

// commit stores records and entries in one transaction. A draft whose record exists
// leaves an entry of a generation that no record has; the reader drops it.
func (q *Redis) commit(drafts []draft) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	sets := make([]*redis.StatusCmd, len(drafts))
	var groups *redis.XInfoGroupsCmd
	cmds, err := q.db.TxPipelined(ctx, func(p redis.Pipeliner) error {
		for i, d := range drafts {
			fields, err := d.entry.fields()
			if err != nil {
				return err
			}
			sets[i] = p.SetArgs(ctx, q.taskKey(d.entry.Task), d.value, redis.SetArgs{Mode: "NX"})
			p.XAdd(ctx, &redis.XAddArgs{Stream: q.logKey(), Values: fields})
		}
		groups = p.XInfoGroups(ctx, q.logKey())
		return nil
	})
	if err := firstError(cmds, err); err != nil {
		return err
	}
	for i, set := range sets {
		*drafts[i].won = set.Err() == nil
	}
	// Where the store has lost the group, none of the tasks was delivered; the next read makes it again.
	q.depth = int64(len(drafts))
	if info, err := workers(groups); err == nil {
		q.depth = info.live()
	}
	return nil
}
