package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// burn notes that an attempt of a task begins (1) or ends (-1) to use up its budget and those of all its ancestors.
func (m *Machine) burn(now time.Time, t *task, change int) {
	for ; t != nil; t = t.parent {
		t.settleBudget(now)
		t.burning += change
		if change > 0 {
			m.watchBudget(t)
		}
	}
}

func (t *task) settleBudget(now time.Time) {
	if elapsed := now.Sub(t.since); elapsed > 0 {
		t.spent += elapsed * time.Duration(t.burning)
	}
	t.since = now
}

// watchBudget sets a timer for when the budget is spent if no attempt begins or ends before. An earlier
// one that is set already finds out when it fires.
func (m *Machine) watchBudget(t *task) {
	budget := t.budget()
	if budget == 0 || t.burning == 0 {
		return
	}
	at := t.since.Add(max(0, budget-t.spent) / time.Duration(t.burning))
	if t.budgetTimer.IsZero() || at.Before(t.budgetTimer) {
		t.budgetTimer = at
		m.timers.push(timer{at, onBudget, t})
	}
}

func (m *Machine) checkBudget(now time.Time, t *task) {
	t.budgetTimer = time.Time{}
	t.settleBudget(now)
	if t.spent >= t.budget() {
		m.stop(now, t, budgetExceeded)
		return
	}
	m.watchBudget(t)
}

func (t *task) budget() time.Duration { return time.Duration(t.entry.Meta.BudgetMS) * time.Millisecond }

// showBudgets has the standings recorded of a task's ancestors with a budget: what it has spent of that is to be known to
// the next leader, which cannot learn it from a task that has ended or failed.
func (m *Machine) showBudgets(t *task) {
	for p := t.parent; p != nil; p = p.parent {
		if p.budget() > 0 {
			m.show(p)
		}
	}
}

// charge adds what the attempts spent that the former leader did not see to their ends: until it was last known to lead
// or, of those that go on by themselves, until they were found again, at the latest now.
func (m *Machine) charge(now time.Time) {
	for _, t := range m.tasks {
		s := t.entry.Standing
		if s == nil || s.State != queue.Running || s.StartedAt.IsZero() {
			continue
		}
		until := m.opt.LedUntil
		if m.opt.Resumes(t.entry.Meta.Backend) {
			until = earlier(t.foundAt, now)
		} else if t.phase != ending {
			m.dirty[t] = struct{}{} // it does not run any more, which the next leader is not to count again
			m.check(t)
		}
		for a := t; a != nil; a = a.parent {
			m.chargeFor(now, a, s.StartedAt, until)
		}
	}
}

// found notes that this leader's first attempt has found what goes on, or has ended.
func (t *task) found(now time.Time) {
	if t.foundAt.IsZero() {
		t.foundAt = now
	}
}

// chargeFor adds an attempt's time to what a task, or any below it, has spent, as far as its standing does not say so.
func (m *Machine) chargeFor(now time.Time, t *task, from, until time.Time) {
	if s := t.entry.Standing; s != nil && s.SpentAt.After(from) {
		from = s.SpentAt
	}
	if !until.After(from) {
		return
	}
	t.spent += until.Sub(from)
	if t.budget() > 0 {
		m.show(t)
		m.checkBudget(now, t)
	}
}
