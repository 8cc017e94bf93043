package queuetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// shortTTL is for outcomes whose end a test awaits.
func shortTTL(c *consumer) { c.ResultTTL = time.Second }

// recordAgain repeats a record as a leader does that has not heard the reply.
func recordAgain(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop(), noop())
	l := lead(t, q)
	e, dead := l.one(), l.one()
	for range 3 {
		l.finish(e, queue.Succeeded)
		l.finish(dead, queue.Dead)
	}
	l.finish(e, queue.Failed)
	expect(t, q, ids[0], queue.Succeeded, 1)
	stats, err := q.Stats(t.Context())
	if check(t, err); stats.Live != 0 || stats.Dead != 1 {
		t.Errorf("left: %+v", stats)
	}
}

// recordAgainAfterARevival loses the reply to a record of a dead letter's end, which somebody reads and puts back.
func recordAgainAfterARevival(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop(), noop())
	l := lead(t, q)
	changes := []queue.Change{end(l.one(), queue.Dead, nil), end(l.one(), queue.Succeeded, nil)}
	for range 2 { // the first time nothing was written
		check(t, l.Record(t.Context(), l.term, changes, true))
		expect(t, q, ids[0], queue.Dead, 1)
	}
	_, err := q.Revive(t.Context(), ids[0])
	check(t, err)
	check(t, l.Record(t.Context(), l.term, changes, true))
	expect(t, q, ids[0], queue.Queued, 0)
	expect(t, q, ids[1], queue.Succeeded, 1)
	if tasks := l.begin(l.one()); tasks[0] == nil {
		t.Error("nobody wants what was put back")
	}
	stats, err := q.Stats(t.Context())
	if check(t, err); stats.Live != 1 || stats.Dead != 0 {
		t.Errorf("left: %+v", stats)
	}
}

// recordAgainAfterAMove loses a record of an end, of which the entry was appended again, and nobody has read it yet.
func recordAgainAfterAMove(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop())
	l := lead(t, q)
	e := l.one()
	l.record(queue.Change{Task: e.Task, Move: &e})
	check(t, l.Record(t.Context(), l.term, []queue.Change{end(e, queue.Succeeded, nil)}, true))
	expect(t, q, ids[0], queue.Succeeded, 1)
	if tasks := l.begin(l.one()); tasks[0] != nil {
		t.Errorf("the entry that was appended again asks for %+v", tasks[0])
	}
}

func recordWhole(t *testing.T, open opener) {
	q, other := open(), open()
	ids := submit(t, q, noop(), noop())
	stale := lead(t, q)
	parent, child := stale.one(), stale.one()
	fresh := lead(t, other)
	both := []queue.Change{end(child, queue.Succeeded, nil), {Task: parent.Task, Standing: &queue.Standing{State: queue.Waiting, Children: queue.Children{Succeeded: 1}}}}
	if err := stale.Record(t.Context(), stale.term, both, false); !errors.Is(err, queue.ErrFenced) {
		t.Fatal(err)
	}
	expect(t, q, ids[0], queue.Queued, 0)
	expect(t, q, ids[1], queue.Queued, 0)
	fresh.record(both...)
	expect(t, q, ids[1], queue.Succeeded, 1)
	if task := expect(t, q, ids[0], queue.Waiting, 0); task.Children.Succeeded != 1 {
		t.Errorf("the parent has %+v", task.Children)
	}
}

// follow carries out what comes as a leader would, until the test ends.
func follow(t *testing.T, l *leader, do func(queue.Entry)) {
	done := make(chan struct{})
	t.Cleanup(func() { <-done })
	go func() {
		defer close(done)
		for t.Context().Err() == nil {
			entries, err := l.Next(t.Context(), 10, 50*time.Millisecond)
			if err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
			for _, e := range entries {
				do(e)
			}
		}
	}()
}

func cancels(t *testing.T, open opener) {
	q, other := open(longLease), open(longLease)
	ids := submit(t, q, noop())
	l := lead(t, q)
	e := l.one()
	follow(t, l, func(request queue.Entry) {
		if request.Op != queue.OpCancel || request.Task != ids[0] {
			t.Errorf("the leader reads %+v", request)
		}
		change := end(e, queue.Cancelled, nil)
		change.Settled = append(change.Settled, request.ID)
		l.record(change)
	})
	for range 2 { // cancelling again is no error
		task, err := other.Cancel(t.Context(), ids[0])
		if err != nil || task.State != queue.Cancelled || task.FinishedAt == nil {
			t.Errorf("cancelled: %+v, %v", task, err)
		}
	}
}

func cancelFinished(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, noop())
	l := lead(t, q)
	l.finish(l.one(), queue.Succeeded)
	if _, err := q.Cancel(t.Context(), ids[0]); !errors.Is(err, queue.ErrFinished) {
		t.Errorf("cancelling a finished task: %v", err)
	}
	expect(t, q, ids[0], queue.Succeeded, 1)
}

func closes(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, queue.Spec{Scope: true}, noop())
	expect(t, q, ids[0], queue.Waiting, 0)
	if _, err := q.CloseScope(t.Context(), ids[1]); !errors.Is(err, queue.ErrNotScope) {
		t.Errorf("closing a task that is none: %v", err)
	}
	l := lead(t, q)
	scope := l.one()
	l.one()
	follow(t, l, func(request queue.Entry) {
		l.record(queue.Change{Task: scope.Task, Standing: &queue.Standing{State: queue.Waiting, Closed: true}, Settled: []string{request.ID}})
	})
	if task, err := q.CloseScope(t.Context(), ids[0]); err != nil || !task.Closed || task.State != queue.Waiting {
		t.Errorf("closed: %+v, %v", task, err)
	}
	_, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: queue.Spec{Noop: true, Parent: ids[0]}}})
	if !errors.Is(err, queue.ErrParentEnded) {
		t.Errorf("a child of a closed scope: %v", err)
	}
}

func parents(t *testing.T, open opener) {
	q := open(longLease)
	until := time.Now().Add(time.Hour).UTC()
	ids := submit(t, q, queue.Spec{Scope: true, Tenant: "a", Deadline: until}, noop())
	child := func(spec queue.Spec) error {
		_, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}})
		return err
	}
	check(t, child(queue.Spec{Noop: true, Tenant: "a", Parent: ids[0], Deadline: until.Add(time.Hour)}))
	l := lead(t, q)
	entries := l.next(10)
	if got := entries[2].Meta; got.Parent != ids[0] || !got.Deadline.Equal(until) {
		t.Errorf("the child has %+v", got)
	}
	if err := child(queue.Spec{Noop: true, Tenant: "b", Parent: ids[0]}); !errors.Is(err, queue.ErrParentNotFound) {
		t.Errorf("a child of another tenant's task: %v", err)
	}
	if err := child(queue.Spec{Noop: true, Parent: "unheard of"}); !errors.Is(err, queue.ErrParentNotFound) {
		t.Errorf("a child of nobody: %v", err)
	}
	l.finish(entries[1], queue.Succeeded)
	if err := child(queue.Spec{Noop: true, Parent: ids[1]}); !errors.Is(err, queue.ErrParentEnded) {
		t.Errorf("a child of a task that has ended: %v", err)
	}
	for parent, depth := ids[0], 1; depth <= 17; depth++ {
		got, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: queue.Spec{Scope: true, Tenant: "a", Parent: parent}}})
		if depth == 17 {
			if !errors.Is(err, queue.ErrTooDeep) {
				t.Errorf("at depth %d: %v", depth, err)
			}
			break
		}
		check(t, err)
		parent = got[0]
	}
}

func stale(t *testing.T, open opener) {
	q := open(longLease)
	spec := queue.Spec{Noop: true, IdempotencyKey: "k"}
	submit(t, q, spec)
	l := lead(t, q)
	first := l.one()
	submit(t, q, spec) // it lost the race
	loser := l.one()
	if wanted, err := l.Wanted(t.Context(), []queue.Entry{first, loser, {Task: "unheard of"}}); err != nil || !slices.Equal(wanted, []bool{true, false, false}) {
		t.Errorf("wanted: %v, %v", wanted, err)
	}
	l.finish(first, queue.Succeeded)
	submit(t, q, spec) // its task has ended
	late := l.one()
	if wanted, err := l.Wanted(t.Context(), []queue.Entry{first, loser, late}); err != nil || slices.Contains(wanted, true) {
		t.Errorf("wanted: %v, %v", wanted, err)
	}
	if tasks := l.begin(late); tasks[0] != nil {
		t.Errorf("began %+v", tasks[0])
	}
}

// A dead letter has lost its parent when it was put back, and its deadline where that had passed.
func childAgainAfterARevival(t *testing.T, open opener) {
	for name, ends := range map[string]bool{"its parent lives": false, "its parent has ended": true} {
		q := open(longLease)
		parent := submit(t, q, queue.Spec{Scope: true, Deadline: time.Now().Add(time.Second).UTC()})[0]
		l := lead(t, q)
		scope := l.one()
		spec := queue.Spec{Noop: true, Parent: parent, IdempotencyKey: name, Class: queue.Short, MaxAttempts: 3}
		id := submit(t, q, spec)[0]
		l.finish(l.one(), queue.Dead)
		if ends {
			l.finish(scope, queue.Succeeded)
			Eventually(t, patience, "the deadline has passed", func() bool { return time.Now().After(scope.Meta.Deadline) })
		}
		_, err := q.Revive(t.Context(), id)
		check(t, err)
		if again, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}}); err != nil || again[0] != id {
			t.Errorf("%s: %q, %v, want %s", name, again, err, id)
		}
		spec.Noop = false
		if _, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}}); !errors.Is(err, queue.ErrIdempotencyConflict) {
			t.Errorf("%s: another task under the same key: %v", name, err)
		}
		l.next(10)
		l.resign()
	}
}

// A dead letter is kept for longer than the scope in which it was, of which it had its deadline.
func childAgainWithoutItsParent(t *testing.T, open opener) {
	q := open(longLease, shortTTL)
	parent := submit(t, q, queue.Spec{Scope: true, Deadline: time.Now().Add(time.Hour).UTC()})[0]
	l := lead(t, q)
	scope := l.one()
	spec := queue.Spec{Noop: true, Parent: parent, IdempotencyKey: "k", Class: queue.Short, MaxAttempts: 3}
	id := submit(t, q, spec)[0]
	l.finish(l.one(), queue.Dead)
	l.finish(scope, queue.Succeeded)
	Eventually(t, patience, "the parent expires", func() bool {
		_, err := q.Get(t.Context(), parent)
		return errors.Is(err, queue.ErrNotFound)
	})
	if again, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}}); err != nil || again[0] != id {
		t.Errorf("sent again: %q, %v, want %s", again, err, id)
	}
	spec.Deadline = time.Now().UTC()
	if _, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}}); !errors.Is(err, queue.ErrIdempotencyConflict) {
		t.Errorf("with a deadline that it does not have: %v", err)
	}
}

func unreadable(t *testing.T, open opener) {
	q, newer := open(longLease), open(func(c *consumer) { c.hooks = append(c.hooks, garbler{}) })
	submit(t, newer, noop(), noop())
	good := submit(t, q, noop())[0]
	l := lead(t, q)
	entries := l.next(10)
	l.finish(entries[1], queue.Dead)
	if wanted, err := l.Wanted(t.Context(), entries); err != nil || !slices.Equal(wanted, []bool{true, false, true}) {
		t.Errorf("wanted: %v, %v", wanted, err)
	}
	tasks := l.begin(entries...)
	if bad := tasks[0]; bad == nil || bad.State != queue.Dead || bad.Fault.Code != "TaskUnreadable" {
		t.Errorf("began %+v", bad)
	}
	if tasks[1] != nil || tasks[2] == nil || tasks[2].ID != good || tasks[2].State != queue.Queued {
		t.Errorf("began %+v and %+v", tasks[1], tasks[2])
	}
}

func childAgain(t *testing.T, open opener) {
	q := open(longLease)
	parent := submit(t, q, queue.Spec{Scope: true, Tenant: "a", Deadline: time.Now().Add(time.Hour).UTC()})[0]
	l := lead(t, q)
	scope := l.one()
	spec := queue.Spec{Noop: true, Tenant: "a", Parent: parent, IdempotencyKey: "k", Class: queue.Short, MaxAttempts: 3}
	send := func(change func(*queue.Spec)) (string, error) {
		spec := spec
		if change != nil {
			change(&spec)
		}
		ids, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: spec}})
		return strings.Join(ids, ""), err
	}
	id, err := send(nil)
	check(t, err)
	l.finish(l.one(), queue.Succeeded)
	l.finish(scope, queue.Succeeded)
	if again, err := send(nil); err != nil || again != id {
		t.Errorf("sent again: %q, %v, want %s", again, err, id)
	}
	if _, err := send(func(s *queue.Spec) { s.Argv = []string{"/bin/false"} }); !errors.Is(err, queue.ErrIdempotencyConflict) {
		t.Errorf("another task under the same key: %v", err)
	}
	_, err = q.Enqueue(t.Context(), slices.Repeat([]queue.Submission{{Spec: spec}}, 3)) // a batch
	check(t, err)
	for name, change := range map[string]func(*queue.Spec){
		"with another key": func(s *queue.Spec) { s.IdempotencyKey = "other" }, "without": func(s *queue.Spec) { s.IdempotencyKey = "" },
	} {
		if _, err := send(change); !errors.Is(err, queue.ErrParentEnded) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := l.next(10); len(got) != 0 {
		t.Errorf("the leader reads %+v", got)
	}
}
