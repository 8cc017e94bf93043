package queue

import (
	"context"
	"time"
)

// maxDepth bounds how deeply tasks may be nested.
const maxDepth = 16

// inherit gives tasks with a parent what they have from it: its tenant, and a deadline no later than its own. What
// its ancestors may still spend is known to the leader, which also meets the parent that ends in this moment.
func (q *Redis) inherit(ctx context.Context, subs []Submission) ([]Submission, error) {
	parents, err := q.parents(ctx, subs)
	if err != nil || len(parents) == 0 {
		return subs, err
	}
	out := make([]Submission, len(subs))
	for i, sub := range subs {
		if sub.Spec.Parent != "" {
			parent, found := parents[sub.Spec.Parent]
			switch {
			case !found || parent.Spec.Tenant != sub.Spec.Tenant:
				return nil, ErrParentNotFound
			case parent.State.Terminal() || parent.Closed:
				return nil, ErrParentEnded
			case parent.depth+1 > maxDepth:
				return nil, ErrTooDeep
			}
			sub.depth = parent.depth + 1
			sub.Spec.Deadline = earlier(sub.Spec.Deadline, parent.Spec.Deadline)
		}
		out[i] = sub
	}
	return out, nil
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
	views, err := q.views(ctx, ids)
	for _, v := range views {
		found[v.ID] = v
	}
	return found, err
}

// earlier is the earlier of two times of which a zero one means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
