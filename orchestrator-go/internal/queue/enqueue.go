package queue

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
)

// idempotencySpace is the UUID namespace of ids derived from idempotency keys.
var idempotencySpace = uuid.MustParse("5a0f5b0e-9c1d-4d6a-8f0b-6f3a7c1e2d40")

// draft is a task on its way into the store; won tells afterwards whether it is the one stored.
type draft struct {
	entry Entry
	value string
	won   *bool
}

// Enqueue stores the tasks, all or none, and returns their ids in order. A submission whose
// idempotency key is known returns the id of the task that came first, while that is kept.
// Errors: ErrTooLarge; ErrQueueFull; ErrIdempotencyConflict when that task was a different one;
// the others are then stored. Of parents: ErrParentNotFound, ErrParentEnded, ErrTooDeep.
func (q *Redis) Enqueue(ctx context.Context, subs []Submission) ([]string, error) {
	subs, err := q.inherit(ctx, subs)
	if err != nil {
		return nil, err
	}
	drafts, ids := make([]draft, len(subs)), make([]string, len(subs))
	fresh, bytes := make([]draft, 0, len(subs)), 0
	for i, sub := range subs {
		d, err := newDraft(sub)
		if err != nil {
			return nil, err
		}
		drafts[i], ids[i] = d, d.entry.Task
		if !sub.stored {
			fresh, bytes = append(fresh, d), bytes+len(d.value)
		}
	}
	if len(fresh) > 0 {
		if err := q.enqueues.submit(ctx, fresh, bytes); err != nil {
			return nil, fmt.Errorf("enqueueing: %w", err)
		}
	}
	lost := map[string][]Submission{}
	for i, d := range drafts {
		if !*d.won {
			lost[d.entry.Task] = append(lost[d.entry.Task], subs[i])
		}
	}
	if err := q.checkSame(ctx, lost); err != nil {
		return nil, err
	}
	return ids, nil
}

func newDraft(sub Submission) (draft, error) {
	id, err := newID(sub.Spec.IdempotencyKey)
	if err != nil {
		return draft{}, fmt.Errorf("making a task id: %w", err)
	}
	generation := rand.Text()[:8]
	value, err := encode(record{
		Spec: sub.Spec, Traceparent: sub.Traceparent, CreatedAt: time.Now().UTC(), Depth: sub.depth, Generation: generation,
	})
	if len(value) > MaxTaskBytes {
		return draft{}, ErrTooLarge
	}
	entry := Entry{Task: id, Generation: generation, Meta: metaOf(sub.Spec), Bytes: len(value)}
	return draft{entry: entry, value: value, won: new(bool)}, err
}

// newID derives the id from the idempotency key, so that SET NX on the record is the whole check.
func newID(idempotencyKey string) (string, error) {
	if idempotencyKey != "" {
		return uuid.NewSHA1(idempotencySpace, []byte(idempotencyKey)).String(), nil
	}
	id, err := uuid.NewV7()
	return id.String(), err
}

// checkSame compares what was sent with the tasks that are stored under their ids.
func (q *Redis) checkSame(ctx context.Context, sent map[string][]Submission) error {
	found, faults := 0, []error(nil)
	err := q.eachView(ctx, slices.Collect(maps.Keys(sent)), func(v *view) {
		found++
		for _, sub := range sent[v.ID] {
			if err := v.same(sub); err != nil {
				faults = append(faults, err)
			}
		}
	})
	switch {
	case err != nil:
		return err
	case len(faults) > 0:
		return faults[0]
	case found < len(sent):
		return ErrNotFound // it has expired since
	}
	return nil
}

// same says whether a submission is the task that is stored. Errors: ErrIdempotencyConflict when it is not.
func (v *view) same(sub Submission) error {
	// Through JSON, so that nil and empty fields compare as they are stored.
	text, err := encode(sub.Spec)
	if err != nil {
		return err
	}
	var normal Spec
	if err := json.Unmarshal([]byte(text), &normal); err != nil {
		return fmt.Errorf("comparing with the stored task: %w", err)
	}
	if v.putBack() {
		normal.Parent = ""
	}
	if lost := v.putBack() && v.Spec.Deadline.IsZero(); lost || sub.stored && earlier(v.Spec.Deadline, normal.Deadline).Equal(v.Spec.Deadline) {
		normal.Deadline = v.Spec.Deadline // one that had passed when it was put back, or that it has from a parent that is gone
	}
	if !reflect.DeepEqual(v.Spec, normal) {
		return ErrIdempotencyConflict
	}
	return nil
}

// putBack says whether it was a dead letter, and has no parent any more for that.
func (v *view) putBack() bool { return v.before != "" }

func (q *Redis) record(ctx context.Context, id string) (record, error) {
	var rec record
	text, err := q.db.Get(ctx, q.taskKey(id)).Result()
	if errors.Is(err, redis.Nil) {
		return rec, ErrNotFound
	}
	if err != nil {
		return rec, fmt.Errorf("reading the task: %w", err)
	}
	_, err = decode(text, &rec)
	return rec, err
}
