package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

var errAway = errors.New("the store is away")

// fakeQueue is a fake of the queue in memory, on the clock of the test's bubble.
type fakeQueue struct {
	ready chan queue.Lease

	mu       sync.Mutex
	expired  []queue.Lease
	renewed  map[string]int
	lost     []string
	ended    []string
	retries  []time.Time
	released []queue.Lease
	done     []queue.Completion
	last     []queue.Lease // delivered by a read that its context ends
	away     int           // the next calls of Finish and Retry that fail
}

func newFakeQueue(specs ...queue.Spec) *fakeQueue {
	q := &fakeQueue{ready: make(chan queue.Lease, 100), renewed: map[string]int{}}
	for i, spec := range specs {
		if spec.MaxAttempts == 0 {
			spec.MaxAttempts = 3
		}
		q.ready <- lease(fmt.Sprintf("%d-0", i+1), spec, 1)
	}
	return q
}

func lease(entry string, spec queue.Spec, attempt int) queue.Lease {
	return queue.Lease{Entry: entry, Attempt: attempt, Task: queue.Task{ID: "task-" + entry, Spec: spec, CreatedAt: time.Now()}}
}

func (q *fakeQueue) Read(ctx context.Context, limit int, block time.Duration) ([]queue.Lease, error) {
	var out []queue.Lease
	for len(out) < limit {
		select {
		case l := <-q.ready:
			out = append(out, l)
			continue
		default:
		}
		if len(out) > 0 {
			return out, nil
		}
		if !pause(ctx, block) {
			q.mu.Lock()
			defer q.mu.Unlock()
			return q.last, nil
		}
		block = 0
		if len(q.ready) == 0 {
			return nil, nil
		}
	}
	return out, nil
}

func (q *fakeQueue) Reclaim(context.Context, int, func(string) bool) ([]queue.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := q.expired
	q.expired = nil
	return out, nil
}

func (q *fakeQueue) Renew(_ context.Context, held []queue.Progress) (queue.Renewal, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range held {
		q.renewed[p.Lease.Entry]++
	}
	return queue.Renewal{Lost: q.lost, Ended: q.ended}, nil
}

func (q *fakeQueue) Retry(_ context.Context, l queue.Lease) (queue.Lease, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away > 0 {
		q.away--
		return l, errAway
	}
	if slices.Contains(q.lost, l.Entry) {
		return l, queue.ErrLeaseLost
	}
	q.retries = append(q.retries, time.Now())
	l.Attempt++
	return l, nil
}

func (q *fakeQueue) Finish(_ context.Context, done []queue.Completion) ([]bool, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.away > 0 {
		q.away--
		return nil, errAway
	}
	q.done = append(q.done, done...)
	recorded := make([]bool, len(done))
	for i, c := range done {
		recorded[i] = c.Outcome != nil
	}
	return recorded, nil
}

func (q *fakeQueue) Release(_ context.Context, leases []queue.Lease) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.released = append(q.released, leases...)
	return nil
}

func (q *fakeQueue) change(do func(*fakeQueue)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	do(q)
}

// fakeBackend is a fake of a backend: a function.
type fakeBackend func(ctx context.Context, task queue.Task) (*queue.Result, error)

func (f fakeBackend) Run(ctx context.Context, a backend.Attempt) (*queue.Result, error) {
	a.Started("here")
	return f(ctx, a.Task)
}
