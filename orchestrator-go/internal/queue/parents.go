package queue

import (
	"context"
	"errors"
	"time"
)

// maxDepth bounds how deeply tasks may be nested.
const maxDepth = 16

// inherit gives tasks with a parent what they have from it: its tenant, and a deadline no later than its own. What
// its ancestors may still spend is known to the leader, which also meets the parent that ends in this moment. Those
// that are stored already, by their idempotency keys, need no parent any more.
func (q *Redis) inherit(ctx context.Context, subs []Submission) ([]Submission, error) {
	parents, err := q.parents(ctx, subs)
	if err != nil || len(parents) == 0 {
		return subs, err
	}
	out := make([]Submission, len(subs))
	for i, sub := range subs {
		if sub.Spec.Parent != "" {
			parent, found := parents[sub.Spec.Parent]
			if err := mayHave(parent, found, sub.Spec.Tenant); err != nil {
				if sub.stored, err = q.again(ctx, sub.Spec, err); err != nil {
					return nil, err
				}
			}
			sub.depth = parent.depth + 1
			sub.Spec.Deadline = earlier(sub.Spec.Deadline, parent.Spec.Deadline)
		}
		out[i] = sub
	}
	return out, nil
}

// mayHave says why a parent takes no child of a tenant; nil when it does.
func mayHave(parent view, found bool, tenant string) error {
	switch {
	case !found || parent.Spec.Tenant != tenant:
		return ErrParentNotFound
	case parent.State.Terminal() || parent.Closed:
		return ErrParentEnded
	case parent.depth+1 > maxDepth:
		return ErrTooDeep
	}
	return nil
}

// again says whether a child that its parent refuses is sent again, and is stored since a time when it did not; else the
// refusal is returned.
func (q *Redis) again(ctx context.Context, spec Spec, refusal error) (bool, error) {
	if spec.IdempotencyKey == "" {
		return false, refusal
	}
	id, err := newID(spec.IdempotencyKey)
	if err != nil {
		return false, err
	}
	switch stored, err := q.record(ctx, id); {
	case errors.Is(err, ErrNotFound):
		return false, refusal
	case err != nil:
		return false, err
	case stored.Spec.Tenant != spec.Tenant || stored.Spec.Parent != spec.Parent:
		return false, refusal
	}
	return true, nil
}

func (q *Redis) parents(ctx context.Context, subs []Submission) (map[string]view, error) {
	var ids []string
	seen := map[string]bool{}
	for _, sub := range subs {
		if id := sub.Spec.Parent; id != "" && !seen[id] {
			seen[id], ids = true, append(ids, id)
		}
	}
	found := make(map[string]view, len(ids))
	err := q.eachView(ctx, ids, func(v *view) {
		// A batch may name thousands of parents, and what is asked of each is little.
		found[v.ID] = view{depth: v.depth, Task: Task{
			State: v.State, Closed: v.Closed, Spec: Spec{Tenant: v.Spec.Tenant, Deadline: v.Spec.Deadline},
		}}
	})
	return found, err
}

// earlier is the earlier of two times of which a zero one means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
