package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// reason is why a task ends that was not let run to its end.
type reason struct {
	code    string
	message string
	state   queue.State
}

var (
	cancelled        = &reason{"Cancelled", "the task was cancelled", queue.Cancelled}
	parentEnded      = &reason{"ParentEnded", "the parent ended without success, which ends its children", queue.Cancelled}
	deadlineExceeded = &reason{"DeadlineExceeded", "the deadline passed before the task ended", queue.Failed}
	budgetExceeded   = &reason{"BudgetExceeded", "the budget of run time, shared with ancestors and children, is spent", queue.Failed}
)

// outcome is the end for a reason; what the task had come to stays readable.
func (r *reason) outcome(result *queue.Result) *queue.Outcome {
	out := &queue.Outcome{State: r.state, Result: result}
	if r != cancelled {
		out.Fault = r.fault()
	}
	return out
}

func (r *reason) fault() *queue.Fault { return &queue.Fault{Code: r.code, Message: r.message} }

func (m *Machine) cancel(now time.Time, e queue.Entry) {
	t := m.tasks[e.Task]
	if t == nil || t.phase == ending || t.reason == cancelled {
		m.settled = append(m.settled, e.ID) // it has ended meanwhile, or another request is kept
		return
	}
	// The request stays in the log until the task has ended: the next leader finds it there.
	t.settled = append(t.settled, e.ID)
	m.stop(now, t, cancelled)
}

func (m *Machine) closeScope(e queue.Entry) {
	t := m.tasks[e.Task]
	if t == nil || t.phase == ending || !t.entry.Meta.Scope {
		m.settled = append(m.settled, e.ID)
		return
	}
	// The request stays in the log until what it says is recorded: the next leader finds it there.
	t.closed, t.told = true, append(t.told, e.ID)
	m.dirty[t] = struct{}{}
	m.endIfDone(t)
}

// stop ends a task, and with it all that it has started: its children first.
func (m *Machine) stop(now time.Time, t *task, why *reason) {
	if t.phase == ending || t.reason != nil {
		return
	}
	t.reason = why
	below := why
	if why == cancelled {
		below = parentEnded
	}
	for child := range t.children {
		m.stop(now, child, below)
	}
	switch t.phase {
	case beginning:
		// Begun finds the reason.
	case running:
		m.stops = append(m.stops, Stop{Task: t.entry.Task, Why: why.code})
	case waiting:
		var result *queue.Result
		if t.own != nil {
			result = t.own.Result
		}
		m.finish(now, t, why.outcome(result))
	default:
		m.withdraw(t)
		m.letGo(now, t)
	}
}

// letGo ends a task, of which no attempt runs, for its reason. What an earlier leader's attempt may have left ends first.
func (m *Machine) letGo(now time.Time, t *task) {
	if !t.lingers {
		m.finish(now, t, t.reason.outcome(nil))
		return
	}
	t.enter(waiting)
	m.stops = append(m.stops, Stop{Task: t.entry.Task, Why: t.reason.code, Stray: true, Backend: t.entry.Meta.Backend})
}

// Gone notes that nothing goes on any more that a stop called stray.
func (m *Machine) Gone(now time.Time, id string) {
	t := m.tasks[id]
	if t == nil || t.reason == nil || !t.lingers {
		return // its entry was stale
	}
	t.lingers = false
	m.finish(now, t, t.reason.outcome(nil))
}

// finish decides a task's end, which comes after those of its children.
func (m *Machine) finish(now time.Time, t *task, own *queue.Outcome) {
	t.own = own
	t.enter(waiting)
	if own.State != queue.Succeeded {
		for child := range t.children {
			m.stop(now, child, parentEnded)
		}
	}
	if m.endIfDone(t); t.phase == waiting {
		m.dirty[t] = struct{}{} // so that the command is not run again
	}
}

// endIfDone ends a task that waits for its children, once there are none.
func (m *Machine) endIfDone(t *task) {
	if t.phase != waiting || len(t.children) > 0 || m.adopting || t.own == nil && !t.closed {
		return
	}
	if !t.known {
		m.check(t)
		return
	}
	if t.own == nil {
		t.own = &queue.Outcome{State: queue.Succeeded}
	}
	t.enter(ending)
	m.ends = append(m.ends, t)
}

// Drain returns up to about limit changes that are to be recorded in one piece and in this order: an end comes with
// what it means for the parent. Their results have up to about bytes. Recorded is to follow, before the next Drain.
func (m *Machine) Drain(now time.Time, limit, bytes int) []queue.Change {
	var changes []queue.Change
	parents := map[*task]struct{}{}
	for len(m.ends) > 0 && len(changes) < limit && bytes > 0 {
		t := m.ends[0]
		m.ends[0], m.ends = nil, m.ends[1:]
		delete(m.dirty, t)
		bytes -= t.own.Result.Size()
		changes = append(changes, queue.Change{
			Task: t.entry.Task, Class: t.entry.Meta.Class, Bytes: t.entry.Bytes, Outcome: t.outcome(now), Begun: t.stands,
			Settled: append(append(t.settled, t.told...), t.entry.ID),
		})
		m.leave(t)
		m.showBudgets(t)
		for p := t.parent; p != nil; p = p.parent {
			if _, counted := parents[p]; !counted {
				bytes -= p.ownBytes()
			}
			parents[p] = struct{}{}
		}
	}
	for p := range parents {
		if _, dirty := m.dirty[p]; dirty {
			changes = append(changes, m.stand(now, p))
		}
	}
	for t := range m.dirty {
		if len(changes) >= 2*limit || bytes <= 0 {
			break
		}
		if t.known { // else it may be another's standing that would be overwritten; none of its attempts has begun
			bytes -= t.ownBytes()
			changes = append(changes, m.stand(now, t))
		}
	}
	if len(m.settled) > 0 {
		changes = append(changes, queue.Change{Settled: m.settled})
		m.settled = nil
	}
	return changes
}

// stand is the change that records where a task stands.
func (m *Machine) stand(now time.Time, t *task) queue.Change {
	delete(m.dirty, t)
	t.settleBudget(now)
	c := queue.Change{Task: t.entry.Task, Standing: t.standing(), Settled: t.told}
	t.stands, t.told = true, nil
	return c
}

// Stops returns the attempts that are to be broken off; each of them still comes to its Ended.
func (m *Machine) Stops() []Stop {
	stops := m.stops
	m.stops = nil
	return stops
}

// leave counts a task's end for its parent.
func (m *Machine) leave(t *task) {
	p := t.parent
	if p == nil {
		return
	}
	delete(p.children, t)
	p.counts.Open--
	if t.own.State == queue.Succeeded {
		p.counts.Succeeded++
	} else {
		p.counts.Failed++
	}
	m.dirty[p] = struct{}{}
	m.endIfDone(p)
}

// Recorded forgets the tasks whose ends are recorded.
func (m *Machine) Recorded(now time.Time, changes []queue.Change) {
	for _, c := range changes {
		if c.Outcome == nil {
			continue
		}
		t := m.tasks[c.Task]
		m.drop(t)
		for _, e := range t.after {
			m.admit(now, e)
		}
	}
}
