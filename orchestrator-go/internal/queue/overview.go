package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// overviewTTL is how long what the leader published of itself is shown.
const overviewTTL = 15 * time.Second

func (q *Redis) overviewKey() string { return q.opt.Prefix + "overview" }

// PutOverview publishes what the leader says of itself, for whichever replica is asked. It is for people's eyes alone.
func (q *Redis) PutOverview(ctx context.Context, value any) error {
	text, err := encode(value)
	if err != nil {
		return err
	}
	if err := q.db.Set(ctx, q.overviewKey(), text, overviewTTL).Err(); err != nil {
		return fmt.Errorf("publishing an overview: %w", err)
	}
	return nil
}

// Overview reads what the leader published last; it reports whether that is there.
func (q *Redis) Overview(ctx context.Context, into any) (bool, error) {
	text, err := q.db.Get(ctx, q.overviewKey()).Result()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading the overview: %w", err)
	}
	return decode(text, into)
}
