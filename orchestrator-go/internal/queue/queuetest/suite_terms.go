package queuetest

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/queue"
)

func oneLeads(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	first := lead(t, q)
	if _, err := other.Lead(t.Context(), queue.Term{}); !errors.Is(err, queue.ErrFenced) {
		t.Errorf("a second one took the lead: %v", err)
	}
	if again, err := q.Lead(t.Context(), first.term); err != nil || again != first.term {
		t.Errorf("keeping the lead: %+v, %v", again, err)
	}
	if name, err := other.Leader(t.Context()); err != nil || name != q.Name() {
		t.Errorf("the leader is %q, %v", name, err)
	}
	first.resign()
	second := lead(t, other)
	if ago := time.Since(second.term.Before); !first.term.Before.IsZero() || ago < 0 || ago > patience {
		t.Errorf("led before: %v, then %v", first.term.Before, second.term.Before)
	}
	if second.term.Epoch <= first.term.Epoch || second.term.Token(1) <= first.term.Token(20) {
		t.Errorf("terms %+v, then %+v", first.term, second.term)
	}
	if first.term.Token(2) <= first.term.Token(1) {
		t.Error("a later attempt has no higher token")
	}
}

func outlasts(t *testing.T, open opener) {
	q, other := open(), open()
	l := lead(t, q)
	ids := submit(t, q, noop())
	e := l.one()
	Eventually(t, patience, "the lease runs out", func() bool {
		name, err := q.Leader(t.Context())
		check(t, err)
		return name == ""
	})
	l.finish(e, queue.Succeeded) // nobody else has led
	expect(t, q, ids[0], queue.Succeeded, 1)
	term, err := q.Lead(t.Context(), l.term)
	if err != nil || term != l.term {
		t.Errorf("kept %+v, %v", term, err)
	}
	lead(t, other)
	if _, err := q.Lead(t.Context(), l.term); !errors.Is(err, queue.ErrFenced) {
		t.Errorf("kept a term that had ended: %v", err)
	}
}

// fenced stops a leader between its work and its recording, until another leads.
func fenced(t *testing.T, open opener) {
	q, other := open(), open()
	ids := submit(t, q, noop())
	stale := lead(t, q)
	e := stale.one()
	stale.begin(e)
	fresh := lead(t, other)
	err := stale.Record(t.Context(), stale.term, []queue.Change{end(e, queue.Failed, &queue.Result{Stdout: strings.Repeat("s", mebibyte)})}, false)
	if !errors.Is(err, queue.ErrFenced) {
		t.Fatalf("a leader that was replaced recorded: %v", err)
	}
	if _, err := stale.Begin(t.Context(), stale.term, []queue.Entry{e}); !errors.Is(err, queue.ErrFenced) {
		t.Errorf("a leader that was replaced began an attempt: %v", err)
	}
	if err := stale.Resign(t.Context(), stale.term, []queue.Entry{e}); !errors.Is(err, queue.ErrFenced) {
		t.Errorf("a leader that was replaced resigned: %v", err)
	}
	again := fresh.adopt()
	if len(again) != 1 || again[0].Begun != 1 {
		t.Fatalf("adopted %+v", again)
	}
	fresh.begin(again[0])
	fresh.finish(again[0], queue.Succeeded)
	expect(t, q, ids[0], queue.Succeeded, 2)
}

func resigns(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	lead(t, q).resign()
	if _, err := other.Lead(t.Context(), queue.Term{}); err != nil {
		t.Errorf("the lead is not free: %v", err)
	}
}

func attempts(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	submit(t, q, noop(), noop())
	l := lead(t, q)
	entries := l.next(2)
	l.begin(entries[0])
	entries[0].Begun++
	l.begin(entries[0])
	l.resign()
	for range 2 { // adopting counts nothing
		l = lead(t, other)
		got := l.adopt()
		if len(got) != 2 || got[0].Begun != 2 || got[1].Begun != 0 {
			t.Fatalf("adopted %+v", got)
		}
		l.resign()
	}
}

func unbegun(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	submit(t, q, noop(), noop())
	l := lead(t, q)
	entries := l.next(2)
	l.begin(entries...)
	l.resign(entries[0]) // of which no attempt stays counted
	if got := lead(t, other).adopt(); len(got) != 2 || got[0].Begun != 0 || got[1].Begun != 1 {
		t.Errorf("adopted %+v", got)
	}
}

func adopts(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	ids := submit(t, q, slices.Repeat([]queue.Spec{noop()}, 1500)...)
	l := lead(t, q)
	read := l.next(1200)
	l.finish(read[3], queue.Succeeded)
	l.finish(read[1100], queue.Succeeded)
	l.resign()
	want := slices.Concat(ids[:3], ids[4:1100], ids[1101:1200])
	l = lead(t, other)
	if got := tasksOf(l.adopt()); !slices.Equal(got, want) {
		t.Errorf("adopted %d tasks, not the %d that have not ended, in their order", len(got), len(want))
	}
	if got := tasksOf(l.next(1000)); !slices.Equal(got, ids[1200:]) {
		t.Errorf("read %d tasks, not the %d that nobody had read", len(got), 300)
	}
}

// adoptsWhole loses the reply that says where a task stands. It would be run again, although it waits for its children.
func adoptsWhole(t *testing.T, open opener) {
	q := open(longLease)
	lost := atomic.Bool{}
	other := open(longLease, func(c *consumer) {
		c.hooks = append(c.hooks, afterwards(func(cmd redis.Cmder, err error) error {
			if cmd.Name() == "mget" && !lost.Swap(true) {
				return io.ErrUnexpectedEOF
			}
			return err
		}))
	})
	ids := submit(t, q, noop())
	l := lead(t, q)
	l.begin(l.one())
	l.record(queue.Change{Task: ids[0], Standing: &queue.Standing{State: queue.Waiting, Own: &queue.Outcome{State: queue.Succeeded}}})
	l.resign()
	l = lead(t, other)
	if entries, _, err := l.Adopt(t.Context(), "", true); err == nil || len(entries) > 0 {
		t.Errorf("adopted %+v, %v", entries, err)
	}
	if entries := l.adopt(); len(entries) != 1 || entries[0].Standing == nil {
		t.Errorf("adopted %+v", entries)
	}
}

func strays(t *testing.T, open opener) {
	q, other := open(), open()
	stale := lead(t, q)
	fresh := lead(t, other)
	ids := submit(t, q, noop())
	fresh.adopt()
	stale.one() // its read was under way
	if got := fresh.next(10); len(got) != 0 {
		t.Fatalf("read %+v", got)
	}
	got, _, err := fresh.Adopt(t.Context(), "", false)
	if check(t, err); !slices.Equal(tasksOf(got), ids) {
		t.Errorf("found %+v", got)
	}
	if got, _, err = fresh.Adopt(t.Context(), "", false); err != nil || len(got) != 0 {
		t.Errorf("found again: %+v, %v", got, err)
	}
}

func standings(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	ids := submit(t, q, noop())
	l := lead(t, q)
	l.begin(l.one())
	retry := time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond)
	stands := queue.Standing{
		State: queue.Waiting, Attempts: 1, Place: "p", RetryAt: retry, SpentMS: 12, Closed: true,
		History: []queue.AttemptRecord{{Number: 1, Fault: &queue.Fault{Code: "C"}}}, Children: queue.Children{Succeeded: 3},
		Own: &queue.Outcome{State: queue.Succeeded, Result: &queue.Result{Reason: "Completed", Stdout: strings.Repeat("x", mebibyte)}},
	}
	l.record(queue.Change{Task: ids[0], Standing: &stands})
	if task := expect(t, q, ids[0], queue.Waiting, 1); task.Result == nil || len(task.Result.Stdout) != mebibyte || !task.Closed {
		t.Errorf("the task shows %+v", task)
	}
	l.resign()
	l = lead(t, other)
	e := l.adopt()[0]
	got := e.Standing
	if got == nil || got.Own == nil || !got.RetryAt.Equal(retry) || got.SpentMS != 12 || got.History[0].Fault.Code != "C" || got.Children.Succeeded != 3 {
		t.Fatalf("it stands at %+v", got)
	}
	// The large result is not read again: its place goes into the outcome.
	l.record(queue.Change{Task: e.Task, Outcome: got.Own, Begun: true, Settled: []string{e.ID}})
	if task := expect(t, q, ids[0], queue.Succeeded, 0); task.Result == nil || len(task.Result.Stdout) != mebibyte {
		t.Error("the result is lost")
	}
}

func moves(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop())
	l := lead(t, q)
	old := l.one()
	l.begin(old)
	old.Begun++
	l.record(queue.Change{Task: old.Task, Standing: &queue.Standing{State: queue.Running, Attempts: 1}})
	l.record(queue.Change{Task: old.Task, Move: &old})
	moved := l.one()
	if moved.Standing == nil || moved.Standing.Attempts != 1 {
		t.Errorf("moved without where it stands: %+v", moved)
	}
	if moved.ID == old.ID || moved.Task != ids[0] || moved.Begun != 1 || moved.Generation != old.Generation {
		t.Fatalf("moved to %+v", moved)
	}
	if got := l.adopt(); len(got) != 2 || got[0].ID != old.ID || got[0].Begun != 1 || got[1].BegunSince() {
		t.Errorf("pending: %+v", got)
	}
	l.begin(moved)
	if got := l.adopt(); len(got) != 2 || !got[1].BegunSince() {
		t.Errorf("pending: %+v", got)
	}
	l.record(queue.Change{Settled: []string{old.ID}})
	if got := l.adopt(); len(got) != 1 || got[0].ID != moved.ID || got[0].Begun != 2 {
		t.Errorf("pending: %+v", got)
	}
	moved.Begun = 0
	l.resign(moved) // the attempt that ran when it was moved was broken off
	for range 2 {
		l = lead(t, q)
		if got := l.adopt(); len(got) != 1 || got[0].Begun != 0 {
			t.Errorf("after a stop: %+v", got)
		}
	}
	if !old.Before(time.Now().Add(time.Minute)) || old.Before(time.Now().Add(-time.Minute)) {
		t.Errorf("the age of entry %s", old.ID)
	}
}
