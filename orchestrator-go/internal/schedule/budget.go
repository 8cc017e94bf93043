package schedule

import "time"

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
