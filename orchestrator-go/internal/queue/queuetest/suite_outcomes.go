package queuetest

import (
	"context"
	"errors"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// shortTTL is for outcomes whose end a test awaits.
func shortTTL(c *consumer) { c.ResultTTL = time.Second }

func firstOutcome(t *testing.T, open opener) {
	q, other := open(), open()
	ids := submit(t, q, noop())
	slow := readOne(t, q)
	fast := reclaim(t, other)
	if !finish(t, other, fast, queue.Succeeded) || finish(t, q, slow, queue.Failed) {
		t.Error("want the first outcome recorded and the second not")
	}
	expect(t, q, ids[0], queue.Succeeded, 2)
	stats, err := q.Stats(context.Background())
	if check(t, err); stats.Pending != 0 || stats.Ready != 0 {
		t.Errorf("left over: %+v", stats)
	}
}

func finishAgain(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop())
	l := readOne(t, q)
	finish(t, q, l, queue.Succeeded)
	finish(t, q, l, queue.Succeeded)
	expect(t, q, ids[0], queue.Succeeded, 1)
}

func cancelQueued(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop(), noop())
	for range 2 { // cancelling again is no error
		task, err := q.Cancel(t.Context(), ids[0])
		if err != nil || task.State != queue.Cancelled || task.FinishedAt == nil {
			t.Errorf("cancelled: %+v, %v", task, err)
		}
	}
	if leases := read(t, q, 10); len(leases) != 1 || leases[0].Task.ID != ids[1] {
		t.Errorf("delivered %+v", leases)
	}
}

func cancelFinished(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop())
	finish(t, q, readOne(t, q), queue.Succeeded)
	if _, err := q.Cancel(t.Context(), ids[0]); !errors.Is(err, queue.ErrFinished) {
		t.Errorf("cancelling a finished task: %v", err)
	}
	expect(t, q, ids[0], queue.Succeeded, 1)
}

// finishForever repeats a Finish as a caller does that never hears the reply.
func finishForever(t *testing.T, open opener) {
	q := open(shortTTL)
	spec := queue.Spec{Noop: true, IdempotencyKey: "k"}
	ids := submit(t, q, spec)
	l := readOne(t, q)
	finish(t, q, l, queue.Succeeded)
	Eventually(t, patience, "the task is forgotten", func() bool {
		finish(t, q, l, queue.Succeeded)
		_, err := q.Get(t.Context(), ids[0])
		return errors.Is(err, queue.ErrNotFound)
	})
	if finish(t, q, l, queue.Failed) {
		t.Error("an outcome was recorded for a task that is forgotten")
	}
	// The late outcome has left nothing that would swallow the next task of the key.
	submit(t, q, spec)
	finish(t, q, readOne(t, q), queue.Succeeded)
	expect(t, q, ids[0], queue.Succeeded, 1)
}

func cancelExpiring(t *testing.T, open opener) {
	q := open(shortTTL)
	ids := submit(t, q, noop(), noop())
	finish(t, q, readOne(t, q), queue.Succeeded)
	finish(t, q, readOne(t, q), queue.Failed)
	for _, id := range ids {
		Eventually(t, patience, "the task is forgotten", func() bool {
			task, err := q.Cancel(t.Context(), id)
			if err == nil {
				t.Fatalf("a finished task was cancelled: %+v", task)
			}
			return errors.Is(err, queue.ErrNotFound)
		})
	}
}

func cancelDead(t *testing.T, open opener) {
	q := open(shortTTL)
	ids := submit(t, q, noop(), noop())
	finish(t, q, readOne(t, q), queue.Dead)
	if _, err := q.Cancel(t.Context(), ids[0]); !errors.Is(err, queue.ErrFinished) {
		t.Errorf("cancelling a dead letter: %v", err)
	}
	// A task that ends later, and is kept as long as a cancelled one, tells when the time of the first would be over.
	finish(t, q, readOne(t, q), queue.Succeeded)
	Eventually(t, patience, "a later outcome is forgotten", func() bool {
		_, err := q.Get(t.Context(), ids[1])
		return errors.Is(err, queue.ErrNotFound)
	})
	expect(t, q, ids[0], queue.Dead, 1)
	if task, err := q.Revive(t.Context(), ids[0]); err != nil || task.State != queue.Queued {
		t.Errorf("revived: %+v, %v", task, err)
	}
}
