package queuetest

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"dspyagent.io/orchestrator/internal/queue"
)

func tooLarge(t *testing.T, open opener) {
	q := open()
	_, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: queue.Spec{Stdin: strings.Repeat("x", 8*mebibyte)}}})
	if !errors.Is(err, queue.ErrTooLarge) {
		t.Errorf("a task that is too large: %v", err)
	}
}

// enqueue sends n tasks at once; none of their ids come back when the queue is full.
func enqueue(t *testing.T, q *queue.Redis, n int) []string {
	t.Helper()
	ids, err := q.Enqueue(t.Context(), slices.Repeat([]queue.Submission{{Spec: noop()}}, n))
	if err != nil && !errors.Is(err, queue.ErrQueueFull) {
		t.Error(err)
	}
	return ids
}

// The largest batch of the API, and the 1023 tasks that may wait with it for the same commit.
func largestCommit(t *testing.T, open opener) {
	const tasks = 10_000 + 1023
	if got := len(enqueue(t, open(), tasks)); got != tasks {
		t.Errorf("%d of %d taken", got, tasks)
	}
}

func upTo(n int) func(*consumer) { return func(c *consumer) { c.MaxQueued = n } }

func fullQueue(t *testing.T, open opener) {
	q := open(longLease, upTo(10))
	l := lead(t, q)
	for i, c := range []struct{ end, send, want int }{
		{0, 8, 8}, {0, 3, 0}, {0, 2, 2}, {0, 1, 0}, // a batch fits as a whole or not at all
		{1, 2, 0}, {0, 1, 1}, // what has ended takes no room
		{10, 10, 10}, {0, 1, 0},
	} {
		for range c.end {
			l.finish(l.one(), queue.Succeeded)
		}
		if got := len(enqueue(t, q, c.send)); got != c.want {
			t.Errorf("step %d: %d of %d taken, want %d", i, got, c.send, c.want)
		}
	}
}

func fullQueueOfMany(t *testing.T, open opener) {
	const replicas, bound = 3, 20
	var mu sync.Mutex
	taken, refused := map[string]bool{}, 0
	var senders sync.WaitGroup
	for range replicas {
		q := open(upTo(bound))
		for range 20 {
			senders.Go(func() {
				ids := enqueue(t, q, 3)
				mu.Lock()
				defer mu.Unlock()
				if ids == nil {
					refused++
				}
				for _, id := range ids {
					taken[id] = true
				}
			})
		}
	}
	senders.Wait()
	if refused == 0 || len(taken) > replicas*bound {
		t.Errorf("%d batches refused, %d tasks taken; the bound is %d", refused, len(taken), bound)
	}
	found := lead(t, open(longLease)).next(1000)
	for _, e := range found {
		if !taken[e.Task] {
			t.Errorf("task %s was stored though it was refused", e.Task)
		}
	}
	if len(found) != len(taken) {
		t.Errorf("%d tasks taken, %d stored", len(taken), len(found))
	}
}
