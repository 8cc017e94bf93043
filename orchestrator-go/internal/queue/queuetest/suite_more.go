package queuetest

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

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
	if again.Meta.Earlier != 1 {
		t.Errorf("its fencing tokens begin after those of %d attempts, of which it had one", again.Meta.Earlier)
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

// A task that takes long keeps all that came after it in the log, until its entry is appended again.
func trimmingAfterAMove(t *testing.T, open opener) {
	q := open(longLease)
	submit(t, q, slices.Repeat([]queue.Spec{noop()}, 500)...)
	l := lead(t, q)
	entries := l.next(500)
	var ends []queue.Change
	for _, e := range entries[1:] {
		ends = append(ends, end(e, queue.Succeeded, nil))
	}
	l.record(ends...)
	// To this one, everything is old that has ended.
	trimmer := open(func(c *consumer) { c.ResultTTL = -time.Hour })
	listed := func() int {
		check(t, trimmer.Trim(t.Context()))
		page, err := trimmer.List(t.Context(), queue.Filter{}, 1000, "")
		check(t, err)
		return len(page.Tasks)
	}
	if n := listed(); n != 500 {
		t.Errorf("%d of 500 tasks can be listed", n)
	}
	l.record(queue.Change{Task: entries[0].Task, Move: &entries[0]})
	l.one()
	l.record(queue.Change{Settled: []string{entries[0].ID}})
	if n := listed(); n < 1 || n > 150 { // the store cuts by whole blocks
		t.Errorf("%d tasks can be listed after all but one have ended, long ago", n)
	}
	stats, err := q.Stats(t.Context())
	if check(t, err); stats.Live != 1 {
		t.Errorf("counted %+v", stats)
	}
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
