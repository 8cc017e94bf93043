package queuetest

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"dspyagent.io/orchestrator/internal/queue"
)

func deadLetter(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop(), noop())
	l := lead(t, q)
	first, second := l.one(), l.one()
	l.finish(first, queue.Succeeded)
	l.finish(second, queue.Dead)
	page, err := q.DeadLetters(t.Context(), "", 10, "")
	check(t, err)
	if len(page.Tasks) != 1 || page.Tasks[0].ID != ids[1] || page.Cursor != "" {
		t.Fatalf("dead letters: %+v", page)
	}
	task, err := q.Revive(t.Context(), ids[1])
	if err != nil || task.State != queue.Queued || task.Attempts != 0 {
		t.Errorf("revived: %+v, %v", task, err)
	}
	again := l.one()
	if tasks := l.begin(again); again.Task != ids[1] || again.Begun != 0 || tasks[0] == nil {
		t.Errorf("delivered %+v", again)
	}
	l.finish(again, queue.Succeeded)
	expect(t, q, ids[1], queue.Succeeded, 1)
	if _, err := q.Revive(t.Context(), ids[1]); !errors.Is(err, queue.ErrNotDead) {
		t.Errorf("reviving a finished task: %v", err)
	}
}

func reviveOnce(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop())
	l := lead(t, q)
	l.finish(l.one(), queue.Dead)
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
	if entries := l.next(100); revived.Load() != 1 || len(entries) != 1 {
		t.Errorf("%d revivals, %d entries", revived.Load(), len(entries))
	}
}

func expiry(t *testing.T, open opener) {
	q := open(shortTTL)
	ids := submit(t, q, noop())
	l := lead(t, q)
	l.finish(l.one(), queue.Succeeded)
	Eventually(t, patience, "the outcome is forgotten", func() bool {
		_, err := q.Get(t.Context(), ids[0])
		return errors.Is(err, queue.ErrNotFound)
	})
}

func trimming(t *testing.T, open opener) {
	q := open(longLease)
	submit(t, q, noop(), noop(), noop())
	l := lead(t, q)
	gone, held := l.one(), l.one()
	l.finish(gone, queue.Succeeded)
	check(t, q.Trim(t.Context()))
	stats, err := q.Stats(t.Context())
	if check(t, err); stats.Live != 2 || stats.Dead != 0 {
		t.Errorf("counted %+v", stats)
	}
	l.finish(held, queue.Dead)
	l.one()
	stats, err = q.Stats(t.Context())
	if check(t, err); stats.Live != 1 || stats.Dead != 1 {
		t.Errorf("counted %+v", stats)
	}
}
