package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// An entry of the log may ask for nothing: its task has ended and the entry was read late, or was put back since, or it
// lost the race of two requests with one idempotency key. The store alone can tell, and does when an attempt begins. What
// would end without an attempt is checked before: until then it neither ends nor counts for its parent. Scopes and
// children are checked as soon as they come: scopes begin nothing, and parents wait for children.

// check has the store asked whether a task's entry is the one that asks for it.
func (m *Machine) check(t *task) {
	if !t.asked && !t.known {
		t.asked = true
		m.checks = append(m.checks, t)
	}
}

// Checks returns up to limit entries that the store is to be asked about; Checked or NotChecked is to follow. There are
// none while tasks are adopted: of two entries of a task, the one that asks for it may come second.
func (m *Machine) Checks(limit int) []queue.Entry {
	var entries []queue.Entry
	for !m.adopting && len(m.checks) > 0 && len(entries) < limit {
		t := m.checks[0]
		m.checks[0], m.checks = nil, m.checks[1:]
		if t.phase != ending && !t.known {
			entries = append(entries, t.entry)
		}
	}
	return entries
}

// Checked takes the store's answer: whether an entry asks for its task.
func (m *Machine) Checked(now time.Time, e queue.Entry, wanted bool) {
	t := m.tasks[e.Task]
	if t == nil || t.known || t.entry.Generation != e.Generation {
		return
	}
	t.asked = false
	switch {
	case wanted:
		m.know(t)
		m.endIfDone(t)
	case t.phase != beginning: // else its beginning will tell
		m.withdraw(t)
		m.stale(now, t)
	}
}

// NotChecked has entries asked about again: the store did not answer.
func (m *Machine) NotChecked(entries []queue.Entry) {
	for _, e := range entries {
		if t := m.tasks[e.Task]; t != nil {
			t.asked = false
			m.check(t)
		}
	}
}

// know notes that a task's entry is the one that asks for it. Others of the same id do not.
func (m *Machine) know(t *task) {
	t.known = true
	for _, e := range t.rivals {
		m.settled = append(m.settled, e.ID)
	}
	t.rivals = nil
}

// Stale takes a picked task whose entry asks for nothing.
func (m *Machine) Stale(now time.Time, id string) {
	t := m.tasks[id]
	m.release(t)
	if m.adopting || len(t.rivals) > 0 {
		t.enter(waiting) // until it is asked about again: another entry may ask for it
		m.check(t)
		return
	}
	m.stale(now, t)
}

// stale drops a task that waits for nothing: what its entry says is settled, and it leaves no trace.
func (m *Machine) stale(now time.Time, t *task) {
	t.enter(ending)
	m.settled = append(m.settled, t.entry.ID)
	if len(t.rivals) > 0 {
		m.supplant(now, t)
		return
	}
	m.settled = append(append(m.settled, t.settled...), t.told...)
	for child := range t.children {
		m.stop(now, child, parentEnded)
		child.parent = nil
	}
	m.drop(t)
	m.leaveUncounted(now, t)
}

// supplant replaces a stale task by those that other entries of the same id ask for.
func (m *Machine) supplant(now time.Time, stale *task) {
	id := stale.entry.Task
	m.drop(stale)
	for _, e := range stale.rivals {
		m.enrol(now, e, stale.parent != nil && stale.parent.entry.Task == e.Meta.Parent)
	}
	t := m.tasks[id]
	t.gain(stale)
	for child := range stale.children {
		child.parent = nil
		if !adoptable(t, true) {
			m.stop(now, child, parentEnded)
			continue
		}
		t.adopt(child)
		m.burn(now, t, child.burning)
	}
	m.leaveUncounted(now, stale) // after them: it may be their parent, too, and is not to end between
	for _, request := range stale.settled {
		m.request(now, queue.Entry{ID: request, Op: queue.OpCancel, Task: id})
	}
	for _, request := range stale.told {
		m.request(now, queue.Entry{ID: request, Op: queue.OpClose, Task: id})
	}
	m.show(t)
}

// gain takes over what was counted for a stale entry of the same task since that came.
func (t *task) gain(stale *task) {
	var before queue.Standing
	if s := stale.entry.Standing; s != nil {
		before = *s
	}
	t.counts.Succeeded += stale.counts.Succeeded - before.Children.Succeeded
	t.counts.Failed += stale.counts.Failed - before.Children.Failed
	t.spent += stale.spent - time.Duration(before.SpentMS)*time.Millisecond
	t.closed = t.closed || stale.closed && !before.Closed
}

// leaveUncounted takes a task that leaves no trace from its parent.
func (m *Machine) leaveUncounted(now time.Time, t *task) {
	p := t.parent
	if p == nil {
		return
	}
	m.burn(now, p, -t.burning)
	delete(p.children, t)
	p.counts.Open--
	m.show(p)
	m.endIfDone(p)
}
