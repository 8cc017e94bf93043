package queuetest

import (
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// leader is a queue that leads, for tests that need one.
type leader struct {
	t *testing.T
	*queue.Redis
	term queue.Term
}

// lead waits until the queue may lead.
func lead(t *testing.T, q *queue.Redis) *leader {
	t.Helper()
	l := &leader{t: t, Redis: q}
	Eventually(t, patience, "the lease is free", func() bool {
		var err error
		l.term, err = q.Lead(t.Context(), queue.Term{})
		return err == nil
	})
	return l
}

func (l *leader) next(n int) []queue.Entry {
	l.t.Helper()
	entries, err := l.Next(l.t.Context(), n, 50*time.Millisecond)
	check(l.t, err)
	return entries
}

func (l *leader) one() queue.Entry {
	l.t.Helper()
	entries := l.next(1)
	if len(entries) != 1 {
		l.t.Fatalf("read %d entries, want 1", len(entries))
	}
	return entries[0]
}

func (l *leader) begin(entries ...queue.Entry) []*queue.Task {
	l.t.Helper()
	tasks, err := l.Begin(l.t.Context(), l.term, entries)
	check(l.t, err)
	return tasks
}

func (l *leader) record(changes ...queue.Change) {
	l.t.Helper()
	check(l.t, l.Record(l.t.Context(), l.term, changes, false))
}

// adopt is all that has not ended.
func (l *leader) adopt() []queue.Entry {
	l.t.Helper()
	var all []queue.Entry
	for cursor := ""; ; {
		entries, next, err := l.Adopt(l.t.Context(), cursor, true)
		check(l.t, err)
		all = append(all, entries...)
		if cursor = next; cursor == "" {
			return all
		}
	}
}

func (l *leader) finish(e queue.Entry, state queue.State) {
	l.t.Helper()
	l.record(end(e, state, nil))
}

func end(e queue.Entry, state queue.State, result *queue.Result) queue.Change {
	return queue.Change{
		Task: e.Task, Bytes: e.Bytes, Begun: true, Settled: []string{e.ID},
		Outcome: &queue.Outcome{State: state, Attempts: e.Begun + 1, Result: result, FinishedAt: time.Now().UTC()},
	}
}

func (l *leader) resign(unbegun ...queue.Entry) {
	l.t.Helper()
	check(l.t, l.Resign(l.t.Context(), l.term, unbegun))
}

func tasksOf(entries []queue.Entry) []string {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = e.Task
	}
	return ids
}
