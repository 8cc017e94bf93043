package schedule

import (
	"strings"

	"dspyagent.io/orchestrator/internal/queue"
)

// maxShare bounds the rows of a view: further tenants and keys are left out.
const maxShare = 1000

// Share is one tenant's tasks of one class for one backend.
type Share struct {
	Tenant  string      `json:"tenant,omitempty"`
	Backend string      `json:"backend"`
	Class   queue.Class `json:"class"`
}

// Count counts tasks by what they wait for.
type Count struct {
	Ready   int `json:"ready"`
	Delayed int `json:"delayed"` // for their time, or a further attempt
	Parked  int `json:"parked"`  // by their limit keys
	Running int `json:"running"` // those that are about to begin included
	Waiting int `json:"waiting"` // for children, or as open scopes
}

// Row is a share with its count.
type Row struct {
	Share
	Count
}

// KeyUse is how a limit key is used.
type KeyUse struct {
	Tenant  string `json:"tenant,omitempty"`
	Key     string `json:"key"`
	Max     int    `json:"max"`
	Parked  int    `json:"parked"`
	Running int    `json:"running"`
}

// View is what a machine holds, in numbers.
type View struct {
	Rows []Row    `json:"rows"`
	Keys []KeyUse `json:"keys"`
}

// tally counts the tasks of a share as they come and go: looking at each of them for a view would hold everything up.
type tally struct {
	Count
	share Share
	tasks int
}

// count takes a new task into its share's tally.
func (m *Machine) count(t *task) {
	lane := keyOf(t)
	share := Share{t.entry.Meta.Tenant, lane.backend, lane.class}
	if m.tallies[share] == nil {
		m.tallies[share] = &tally{share: share}
	}
	t.tally = m.tallies[share]
	t.tally.tasks++
	t.tally.add(t.phase, 1)
}

// drop forgets a task.
func (m *Machine) drop(t *task) {
	delete(m.tasks, t.entry.Task)
	delete(m.dirty, t)
	t.tally.add(t.phase, -1)
	if t.tally.tasks--; t.tally.tasks == 0 {
		delete(m.tallies, t.tally.share)
	}
}

// enter puts the task into a phase.
func (t *task) enter(p phase) {
	t.tally.add(t.phase, -1)
	t.phase = p
	t.tally.add(p, 1)
}

// View is in numbers what there is.
func (m *Machine) View() View {
	v := View{Rows: make([]Row, 0, min(len(m.tallies), maxShare)), Keys: make([]KeyUse, 0, len(m.keys))}
	for share, n := range m.tallies {
		if len(v.Rows) == maxShare {
			break
		}
		v.Rows = append(v.Rows, Row{share, n.Count})
	}
	for _, k := range m.keys {
		if len(v.Keys) == maxShare {
			break
		}
		tenant, name, _ := strings.Cut(k.name, "\x00")
		v.Keys = append(v.Keys, KeyUse{tenant, name, k.max, k.count, k.running})
	}
	return v
}

func (c *Count) add(p phase, n int) {
	switch p {
	case ready:
		c.Ready += n
	case delayed:
		c.Delayed += n
	case parked:
		c.Parked += n
	case beginning, running:
		c.Running += n
	case waiting:
		c.Waiting += n
	}
}

// Sum adds up the rows that pass, by what by says of each.
func (v View) Sum(by func(Share) (name string, ok bool)) map[string]Count {
	sums := map[string]Count{}
	for _, r := range v.Rows {
		if name, ok := by(r.Share); ok {
			c := sums[name]
			sums[name] = Count{c.Ready + r.Ready, c.Delayed + r.Delayed, c.Parked + r.Parked, c.Running + r.Running, c.Waiting + r.Waiting}
		}
	}
	return sums
}
