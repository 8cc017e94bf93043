package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Verdict is what an attempt came to.
type Verdict struct {
	Result   *queue.Result // of a command that ran, whatever it was; nil for a no-op
	Fault    *queue.Fault  // why there is none
	Rejected bool          // no other attempt would change the fault
}

// Pick returns up to limit tasks that are to begin an attempt now, as their entries. Acquire says whether there is
// room for one; what it took for a task is the caller's to give back.
func (m *Machine) Pick(limit int, acquire func(queue.Entry) bool) []queue.Entry {
	var picked []queue.Entry
	for len(picked) < limit {
		t := m.lanes.pick(m.parkIfFull, func(t *task) bool { return acquire(t.entry) })
		if t == nil {
			break
		}
		t.enter(beginning)
		if key := m.key(t); key != nil {
			key.running++
		}
		picked = append(picked, t.entry)
	}
	return picked
}

func (m *Machine) parkIfFull(t *task) bool {
	key := m.key(t)
	if key == nil || !key.full(t) {
		return false
	}
	m.lanes.of(t).remove(t)
	t.enter(parked)
	key.park(t)
	return true
}

// Fresh says of a picked task that no attempt was made at it, by this leader or another.
func (m *Machine) Fresh(id string) bool {
	t := m.tasks[id]
	return !t.lingers && t.logged == 0 && t.entry.Begun == 0 && t.entry.Meta.Earlier == 0
}

// Begun notes that an attempt of a picked task is counted, and has a token. It returns the attempt's
// number; 0 when nobody wants it any more: it is not to run, and needs no Ended.
func (m *Machine) Begun(now time.Time, id string, token func(attempt int) int64) int {
	t := m.tasks[id]
	t.entry.Begun++
	t.logged = t.entry.Begun
	m.know(t)
	if t.reason != nil {
		m.release(t)
		m.letGo(now, t)
		return 0
	}
	t.enter(running)
	t.lingers = m.opt.Resumes(t.entry.Meta.Backend)
	t.startedAt, t.token, t.place = now, token(t.entry.Meta.Earlier+t.entry.Begun), ""
	m.starts = append(m.starts, t)
	return t.entry.Begun
}

// Unreadable takes a picked task that cannot be carried out, as the store says.
func (m *Machine) Unreadable(now time.Time, id string, fault *queue.Fault) {
	t := m.tasks[id]
	m.know(t)
	m.release(t)
	if t.reason != nil {
		m.letGo(now, t)
		return
	}
	m.finish(now, t, &queue.Outcome{State: queue.Dead, Fault: fault})
}

// NotBegun puts a picked task back: the store did not answer.
func (m *Machine) NotBegun(now time.Time, id string) {
	t := m.tasks[id]
	m.release(t)
	if t.reason != nil {
		m.letGo(now, t)
		return
	}
	m.enqueue(now, t)
}

// Placed notes that an attempt found a place to run, and when: until then it uses up no budget.
func (m *Machine) Placed(now time.Time, id, place string) {
	if t := m.tasks[id]; t != nil && t.phase == running {
		t.place, t.startedAt = place, now
		t.found(now)
		if !t.burns {
			t.burns = true
			m.burn(now, t, 1)
		}
		if t.stands {
			m.dirty[t] = struct{}{} // what the store shows is old
		}
	}
}

// Ended takes what an attempt came to.
func (m *Machine) Ended(now time.Time, id string, v Verdict) {
	t := m.tasks[id]
	m.release(t)
	t.found(now)
	if t.burns {
		t.burns = false
		m.burn(now, t, -1)
	}
	if t.reason != nil && v.Fault != nil {
		v.Fault = t.reason.fault() // which broke it off
	}
	t.remember(queue.AttemptRecord{
		Number: t.entry.Begun, Token: t.token, Place: t.place, StartedAt: t.startedAt.UTC(), EndedAt: now.UTC(), Fault: v.Fault,
	})
	switch {
	case t.reason != nil:
		m.finish(now, t, t.reason.outcome(v.Result))
	case v.Fault == nil:
		m.finish(now, t, &queue.Outcome{State: endOf(v.Result), Result: v.Result})
	case v.Rejected:
		m.finish(now, t, &queue.Outcome{State: queue.Failed, Fault: v.Fault})
	case t.entry.Begun >= t.maxAttempts():
		m.finish(now, t, &queue.Outcome{State: queue.Dead, Fault: v.Fault})
	default:
		t.fault, t.notBefore = v.Fault, now.Add(m.opt.Backoff(t.entry.Begun))
		m.enqueue(now, t)
		m.dirty[t] = struct{}{}
		m.showBudgets(t)
	}
}

func endOf(r *queue.Result) queue.State {
	if r != nil && r.Reason != "Completed" {
		return queue.Failed
	}
	return queue.Succeeded
}

// release gives back what a picked task holds.
func (m *Machine) release(t *task) {
	m.lanes.of(t).ended(t)
	if key := m.key(t); key != nil {
		key.running--
		m.unpark(key)
	}
}

// Broken returns the entries of the attempts that run, less the attempt: with the leader's end they are broken
// off, which counts as none. Those of a backend that finds them again go on.
func (m *Machine) Broken() []queue.Entry {
	var entries []queue.Entry
	for _, t := range m.tasks {
		if t.phase == running && !m.opt.Resumes(t.entry.Meta.Backend) {
			e := t.entry
			e.Begun--
			entries = append(entries, e)
		}
	}
	return entries
}
