package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"dspyagent.io/orchestrator/internal/httpapi"
)

// fingers is the print of a recorded end: that must never change.
type fingers struct {
	state    string
	attempts int
	finished time.Time
}

func printOf(t *httpapi.Task) (f fingers, ended bool) {
	if t.FinishedAt == nil {
		return f, false
	}
	return fingers{string(t.State), t.Attempts, *t.FinishedAt}, true
}

// readSome reads some tasks again and again, as clients do.
func (s *soak) readSome(ctx context.Context) {
	for ctx.Err() == nil {
		s.mu.Lock()
		id := ""
		if len(s.watched) > 0 {
			id = s.watched[rand.N(len(s.watched))]
		}
		s.mu.Unlock()
		var task httpapi.Task
		if id != "" && s.call(ctx, http.MethodGet, "/v1/tasks/"+id, nil, http.StatusOK, &task) == nil {
			s.compare(&task)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// compare holds a task against how it was read before.
func (s *soak) compare(task *httpapi.Task) {
	id, err := parseID(task.ID)
	if err != nil {
		s.report.fault(err)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.ends[id]
	now, ended := printOf(task)
	if known && before != now {
		s.report.twice++
		s.report.fault(fmt.Errorf("the end of %s was read as %v, and later as %v", task.ID, before, now))
	}
	if ended && !known {
		s.ends[id] = now
	}
	s.report.reads++
}

// verify reads every task, and holds it against what was sent and what the runners saw.
func (s *soak) verify(ctx context.Context) error {
	seen, err := s.gather()
	if err != nil {
		return err
	}
	found := make(map[[16]byte]bool, len(s.expected))
	for cursor := ""; ; {
		var page httpapi.TaskPage
		if err := s.call(ctx, http.MethodGet, "/v1/tasks?limit=500&cursor="+cursor, nil, http.StatusOK, &page); err != nil {
			return err
		}
		for i := range page.Tasks {
			s.check(&page.Tasks[i], seen, found)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	s.report.sent = len(s.expected)
	for id := range s.expected {
		if !found[id] {
			s.report.lost++
			s.report.fault(fmt.Errorf("task %x is not there", id))
		}
	}
	return errors.Join(s.report.faults...)
}

// attempts are what the runners saw of a task.
type attempts struct {
	n         int
	highest   int64
	succeeded bool // any of them was answered with success
}

// gather reads the runners' files.
func (s *soak) gather() (map[[16]byte]attempts, error) {
	seen := make(map[[16]byte]attempts, len(s.expected))
	first := map[int64]time.Time{} // attempt, by epoch
	for _, r := range s.fleet.runners {
		err := sights(s.fleet.sightings(r), func(x sight) {
			a := seen[x.task]
			a.n++
			a.highest, a.succeeded = max(a.highest, x.token), a.succeeded || !x.failed
			seen[x.task] = a
			if epoch := x.token >> 16; first[epoch].IsZero() || x.at.Before(first[epoch]) {
				first[epoch] = x.at
			}
			s.report.attempts++
			if x.failed {
				s.report.failed++
			}
			if a.n > 1 {
				s.report.repeated++
			}
		})
		if err != nil {
			return nil, err
		}
	}
	s.report.resumed(first)
	return seen, nil
}

// check holds one task against what is known of it.
func (s *soak) check(t *httpapi.Task, seen map[[16]byte]attempts, found map[[16]byte]bool) {
	id, err := parseID(t.ID)
	if err != nil {
		s.report.fault(err)
		return
	}
	want, sent := s.expected[id]
	if found[id] {
		return // an idempotency key was sent twice, and its task is listed twice
	}
	found[id] = true
	s.report.states[string(t.State)]++
	now, ended := printOf(t)
	before, read := s.ends[id]
	switch {
	case !sent:
		s.report.fault(fmt.Errorf("task %s was never accepted", t.ID))
	case !ended:
		s.report.lost++
		s.report.fault(fmt.Errorf("task %s is %s, for ever", t.ID, t.State))
	case read && before != now:
		s.report.twice++
		s.report.fault(fmt.Errorf("the end of %s was read as %v, and is %v", t.ID, before, now))
	case t.State == "Succeeded" && want == isCancelled, t.State == "Cancelled" && want == succeeds, t.State != "Succeeded" && t.State != "Cancelled":
		s.report.wrong++
		s.report.fault(fmt.Errorf("task %s ended as %s: %+v", t.ID, t.State, t.Error))
	}
	s.checkAttempts(t, seen[id])
}

// checkAttempts holds a task's history against what the runners saw.
func (s *soak) checkAttempts(t *httpapi.Task, seen attempts) {
	var token int64
	for _, a := range t.History {
		if a.Token <= token {
			s.report.fault(fmt.Errorf("task %s: the token %d follows %d", t.ID, a.Token, token))
		}
		token = a.Token
	}
	if t.Scope {
		if counts := t.Children; counts == nil || counts.Open != 0 || counts.Succeeded+counts.Failed != childrenOf {
			s.report.wrong++
			s.report.fault(fmt.Errorf("scope %s has children %+v", t.ID, counts))
		}
		return
	}
	if t.State != "Succeeded" {
		return
	}
	// A later attempt than the recorded one would mean that a leader which had been replaced recorded it.
	if !seen.succeeded || token != seen.highest {
		s.report.wrong++
		s.report.fault(fmt.Errorf("task %s succeeded with the token %d; the runners saw %+v", t.ID, token, seen))
	}
}
