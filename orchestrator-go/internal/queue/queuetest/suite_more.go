package queuetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"dspyagent.io/orchestrator/internal/queue"
)

func deadLetter(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop(), noop())
	first, second := readOne(t, q), readOne(t, q)
	finish(t, q, first, queue.Succeeded)
	finish(t, q, first, queue.Dead) // lost the race: no dead letter
	finish(t, q, second, queue.Dead)
	page, err := q.DeadLetters(t.Context(), 10, "")
	check(t, err)
	if len(page.Tasks) != 1 || page.Tasks[0].ID != ids[1] || page.Cursor != "" {
		t.Fatalf("dead letters: %+v", page)
	}
	task, err := q.Revive(t.Context(), ids[1])
	if err != nil || task.State != queue.Queued || task.Attempts != 0 {
		t.Errorf("revived: %+v, %v", task, err)
	}
	again := readOne(t, q)
	if again.Task.ID != ids[1] || again.Attempt != 1 {
		t.Errorf("delivered %+v", again)
	}
	finish(t, q, again, queue.Succeeded)
	expect(t, q, ids[1], queue.Succeeded, 1)
	if _, err := q.Revive(t.Context(), ids[1]); !errors.Is(err, queue.ErrNotDead) {
		t.Errorf("reviving a finished task: %v", err)
	}
}

func reviveOnce(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop())
	finish(t, q, readOne(t, q), queue.Dead)
	var revived atomic.Int32
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			_, err := q.Revive(t.Context(), ids[0])
			switch {
			case err == nil:
				revived.Add(1)
			case !errors.Is(err, queue.ErrNotDead):
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if leases := read(t, q, 100); revived.Load() != 1 || len(leases) != 1 {
		t.Errorf("%d revivals, %d leases", revived.Load(), len(leases))
	}
}

func expiry(t *testing.T, open opener) {
	q := open(shortTTL)
	ids := submit(t, q, noop())
	finish(t, q, readOne(t, q), queue.Succeeded)
	Eventually(t, patience, "the outcome is forgotten", func() bool {
		_, err := q.Get(t.Context(), ids[0])
		return errors.Is(err, queue.ErrNotFound)
	})
}

func trimming(t *testing.T, open opener) {
	q := open()
	submit(t, q, noop(), noop(), noop())
	gone, held := readOne(t, q), readOne(t, q)
	finish(t, q, gone, queue.Succeeded)
	check(t, q.Trim(t.Context()))
	stats, err := q.Stats(t.Context())
	if check(t, err); stats.Ready != 1 || stats.Pending != 1 || stats.Dead != 0 {
		t.Errorf("counted %+v", stats)
	}
	finish(t, q, held, queue.Dead)
	if waiting := readOne(t, q); waiting.Attempt != 1 {
		t.Errorf("read %+v", waiting)
	}
	stats, err = q.Stats(t.Context())
	if check(t, err); stats.Ready != 0 || stats.Pending != 1 || stats.Dead != 1 {
		t.Errorf("counted %+v", stats)
	}
}
