// Package history checks what was seen of a queue against what it promises: every task that was accepted ends exactly
// once, as the latest of its attempts did, and who has read its end reads no other one.
//
// It knows nothing of how the queue works. Tests and the soak program write down events in the order in which they took
// effect, and look at [History.Check].
package history

import (
	"errors"
	"fmt"
	"sync"
)

// Kind is what an event is about.
type Kind int

// The kinds of events.
const (
	Accepted Kind = iota // a client was told that the task is stored
	Begun                // an attempt began to run
	Recorded             // an end took effect in the store
	Read                 // somebody read the task
)

// Event is something that happened to a task.
type Event struct {
	Kind  Kind
	Task  string
	Token int64  // Begun: of the attempt; Recorded: of the attempt whose end it is, 0 for an end that is none's
	By    string // Recorded: the leader; Begun: who ran it
	State string // Recorded, Read: empty when it has not ended
}

// History gathers events. The zero value is ready for use; its methods may be called concurrently.
type History struct {
	mu     sync.Mutex
	tasks  map[string]*task
	faults []error
	begun  int
	again  int
	stale  int
}

type task struct {
	accepted bool
	end      string // state, once recorded
	read     string // state, once somebody has read that it ended
	token    int64  // the highest begun
	tokens   map[int64]bool
}

// maxFaults bounds what is remembered of a queue that breaks every promise.
const maxFaults = 100

// Add writes an event down.
func (h *History) Add(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.tasks == nil {
		h.tasks = map[string]*task{}
	}
	t := h.tasks[e.Task]
	if t == nil {
		t = &task{}
		h.tasks[e.Task] = t
	}
	switch e.Kind {
	case Accepted:
		t.accepted = true
	case Begun:
		h.attempt(t, e)
	case Recorded:
		h.end(t, e)
	case Read:
		if t.read != "" && e.State != t.read {
			h.fault("task %s was read as %s, and later as %q", e.Task, t.read, e.State)
		}
		t.read = e.State
	}
}

func (h *History) attempt(t *task, e Event) {
	h.begun++
	if len(t.tokens) > 0 {
		h.again++
	}
	if t.tokens[e.Token] {
		h.fault("task %s: two attempts have the token %d", e.Task, e.Token)
	}
	if t.tokens == nil {
		t.tokens = map[int64]bool{}
	}
	t.tokens[e.Token] = true
	// A leader that was replaced unawares may still begin one. Its token is too low for its end to be recorded.
	if e.Token < t.token {
		h.stale++
	}
	t.token = max(t.token, e.Token)
}

func (h *History) end(t *task, e Event) {
	if t.end != "" {
		h.fault("task %s ended as %s, and again as %s by %s", e.Task, t.end, e.State, e.By)
	}
	t.end = e.State
	if e.Token == 0 {
		return
	}
	if !t.tokens[e.Token] {
		h.fault("task %s ended as %s with the token %d, which no attempt had", e.Task, e.State, e.Token)
	} else if e.Token < t.token {
		h.fault("task %s ended as %s with the token %d by %s, after an attempt with %d had begun", e.Task, e.State, e.Token, e.By, t.token)
	}
}

func (h *History) fault(format string, args ...any) {
	if len(h.faults) < maxFaults {
		h.faults = append(h.faults, fmt.Errorf(format, args...))
	}
}

// Check is what was wrong, with the tasks that have not ended; nil when nothing was.
func (h *History) Check() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	faults := append([]error(nil), h.faults...)
	for id, t := range h.tasks {
		if len(faults) >= maxFaults {
			break
		}
		switch {
		case t.accepted && t.end == "":
			faults = append(faults, fmt.Errorf("task %s was accepted and has not ended", id))
		case t.read != "" && t.end != t.read:
			faults = append(faults, fmt.Errorf("task %s was read as %s and ended as %q", id, t.read, t.end))
		}
	}
	return errors.Join(faults...)
}

// Counts are what happened in numbers.
type Counts struct {
	Accepted, Ended int // tasks
	Begun           int // attempts
	Repeated        int // attempts of tasks that had one before
	Stale           int // attempts that a leader began after it was replaced
}

// Counts counts.
func (h *History) Counts() Counts {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := Counts{Begun: h.begun, Repeated: h.again, Stale: h.stale}
	for _, t := range h.tasks {
		if t.accepted {
			c.Accepted++
		}
		if t.end != "" {
			c.Ended++
		}
	}
	return c
}
