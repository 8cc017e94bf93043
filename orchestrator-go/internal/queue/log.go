package queue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// adoptPage is how many entries are taken over at once.
const adoptPage = 1000

// Next returns up to limit new entries of the log, waiting up to block for the first, or not at all where that is
// negative; none within that time is an empty result. Entries that come with an error are as good as any.
func (q *Redis) Next(ctx context.Context, limit int, block time.Duration) ([]Entry, error) {
	streams, err := q.db.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: q.name, Streams: []string{q.logKey(), ">"}, Count: int64(limit), Block: block,
	}).Result()
	if err != nil && strings.HasPrefix(err.Error(), "NOGROUP") {
		// The store came back empty; whatever is enqueued from now on is worth reading.
		return nil, q.Open(ctx)
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("reading the log: %w", err)
	}
	var entries []Entry
	var faults []error
	for _, stream := range streams {
		for _, m := range stream.Messages {
			e, err := parseEntry(m, 1)
			entries, faults = append(entries, e), append(faults, err)
		}
	}
	if err := q.standMoved(ctx, entries); err != nil {
		return nil, err // Adopt has them
	}
	return entries, errors.Join(faults...)
}

// standMoved tells entries that were appended again where their tasks stand: it is another leader's that reads them first
// where the one that appended them has died of it.
func (q *Redis) standMoved(ctx context.Context, entries []Entry) error {
	var at []int
	var moved []Entry
	for i, e := range entries {
		if e.moved {
			at, moved = append(at, i), append(moved, e)
		}
	}
	stood, err := q.standings(ctx, moved)
	if err == nil {
		err = stand(moved, stood)
	}
	for i, e := range moved {
		entries[at[i]] = e
	}
	return err
}

// Adopt takes over a page of what has not ended, oldest first, with where it stands; cursor is empty for the first page,
// and comes back empty with the last. Without mine, only what other processes were given comes: one that was replaced
// may have had a read under way. Entries that come with an error are as good as any; without entries, all is to be asked
// for again, from the first page.
func (q *Redis) Adopt(ctx context.Context, cursor string, mine bool) ([]Entry, string, error) {
	if !mine {
		return q.strays(ctx)
	}
	start := "-"
	if cursor != "" {
		start = "(" + cursor
	}
	return q.adopt(ctx, "", start)
}

func (q *Redis) strays(ctx context.Context) ([]Entry, string, error) {
	consumers, err := q.db.XInfoConsumers(ctx, q.logKey(), group).Result()
	if err != nil {
		return nil, "", fmt.Errorf("listing who reads the log: %w", err)
	}
	for _, c := range consumers {
		if c.Name != q.name && c.Pending > 0 {
			return q.adopt(ctx, c.Name, "-") // a page is the caller's then: the next call finds the next
		}
	}
	return nil, "", nil
}

func (q *Redis) adopt(ctx context.Context, consumer, start string) (entries []Entry, cursor string, err error) {
	pending, err := q.db.XPendingExt(ctx, &redis.XPendingExtArgs{
		Stream: q.logKey(), Group: group, Consumer: consumer, Start: start, End: "+", Count: adoptPage,
	}).Result()
	if err != nil {
		return nil, "", fmt.Errorf("reading what is pending: %w", err)
	}
	if len(pending) == 0 {
		return nil, "", nil
	}
	if len(pending) == adoptPage {
		cursor = pending[len(pending)-1].ID
	}
	messages, err := q.claim(ctx, pending)
	if err != nil {
		return nil, "", err
	}
	var faults []error
	for _, p := range pending {
		m, found := messages[p.ID]
		if !found {
			continue // deleted from the stream, or ended meanwhile
		}
		e, err := parseEntry(m, int(p.RetryCount))
		entries, faults = append(entries, e), append(faults, err)
	}
	stood, err := q.standings(ctx, entries)
	if err != nil {
		return nil, "", err // without where it stands a task would begin anew
	}
	return entries, cursor, errors.Join(append(faults, stand(entries, stood))...)
}

// claim makes entries ours and reads them. Their counts stay what they were.
func (q *Redis) claim(ctx context.Context, pending []redis.XPendingExt) (map[string]redis.XMessage, error) {
	byCount := map[int64][]any{}
	for _, p := range pending {
		byCount[p.RetryCount] = append(byCount[p.RetryCount], p.ID)
	}
	var cmds []*redis.XMessageSliceCmd
	_, err := q.db.Pipelined(ctx, func(p redis.Pipeliner) error {
		for count, ids := range byCount {
			args := append([]any{"XCLAIM", q.logKey(), group, q.name, 0}, ids...)
			// go-redis has no typed form of XCLAIM with RETRYCOUNT.
			cmd := redis.NewXMessageSliceCmd(ctx, append(args, "RETRYCOUNT", count)...)
			cmds = append(cmds, cmd)
			if err := p.Process(ctx, cmd); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("taking over what is pending: %w", err)
	}
	messages := make(map[string]redis.XMessage, len(pending))
	for _, cmd := range cmds {
		for _, m := range cmd.Val() {
			messages[m.ID] = m
		}
	}
	return messages, nil
}

// standings reads where tasks stand, in the store's form.
func (q *Redis) standings(ctx context.Context, entries []Entry) ([]any, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = q.runKey(e.Task)
	}
	values, err := q.db.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("reading where tasks stand: %w", err)
	}
	return values, nil
}

// stand tells entries where their tasks stand.
func stand(entries []Entry, values []any) error {
	var faults []error
	for i, value := range values {
		var s standing
		found, err := decode(value, &s)
		if err != nil {
			faults = append(faults, fmt.Errorf("task %s: %w", entries[i].Task, err))
		} else if found {
			entries[i].Standing = s.public()
		}
	}
	return errors.Join(faults...)
}
