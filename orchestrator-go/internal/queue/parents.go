package queue

import (
	"context"
	"maps"
	"slices"
	"time"
)

// maxDepth bounds how deeply tasks may be nested.
const maxDepth = 16

// inherit gives tasks with a parent what they have from it: its tenant, and a deadline no later than its own. What
// its ancestors may still spend is known to the leader, which also meets the parent that ends in this moment. Those
// that are stored already, by their idempotency keys, need no parent any more.
func (q *Redis) inherit(ctx context.Context, subs []Submission) ([]Submission, error) {
	parents, err := q.parents(ctx, subs)
	if err != nil {
		return nil, err
	}
	out := slices.Clone(subs)
	refusals := map[int]error{}
	for i := range out {
		sub := &out[i]
		if sub.Spec.Parent == "" {
			continue
		}
		parent, found := parents[sub.Spec.Parent]
		if err := mayHave(parent, found, sub.Spec.Tenant); err != nil {
			refusals[i] = err
		}
		sub.depth = parent.depth + 1
		sub.Spec.Deadline = earlier(sub.Spec.Deadline, parent.Spec.Deadline)
	}
	return out, q.excuse(ctx, out, refusals)
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

// excuse marks those children that their parents refuse which are sent again, and are stored since a time when they did
// not. Of any other, the refusal is returned.
func (q *Redis) excuse(ctx context.Context, subs []Submission, refusals map[int]error) error {
	sent := map[string][]int{}
	for _, i := range slices.Sorted(maps.Keys(refusals)) {
		key := subs[i].Spec.IdempotencyKey
		if key == "" {
			return refusals[i]
		}
		id, err := newID(key)
		if err != nil {
			return err
		}
		sent[id] = append(sent[id], i)
	}
	err := q.eachView(ctx, slices.Collect(maps.Keys(sent)), func(v *view) {
		for _, i := range sent[v.ID] {
			spec := &subs[i].Spec
			subs[i].stored = v.Spec.Tenant == spec.Tenant && (v.Spec.Parent == spec.Parent || v.putBack())
		}
	})
	if err != nil {
		return err
	}
	for _, i := range slices.Sorted(maps.Keys(refusals)) {
		if !subs[i].stored {
			return refusals[i]
		}
	}
	return nil
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
