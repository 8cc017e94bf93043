package schedule

// tenant is one tenant's part of a lane.
type tenant struct {
	name    string
	ready   byPriority
	running int
	served  uint64 // the lane's turn at which it was served last
	index   int    // among those that wait; -1 for none
}

// tenants are those with ready tasks, the next to be served on top.
type tenants = ranking[*tenant]

func (t *tenant) before(other *tenant) bool {
	if t.running != other.running {
		return t.running < other.running
	}
	return t.served < other.served
}

func (t *tenant) at(index int) { t.index = index }

// byPriority has the task of the highest priority on top, of equals the oldest.
type byPriority = ranking[*task]

func (t *task) before(other *task) bool {
	if a, b := t.entry.Meta.Priority, other.entry.Meta.Priority; a != b {
		return a > b
	}
	return t.seq < other.seq
}

func (t *task) at(index int) { t.index = index }
