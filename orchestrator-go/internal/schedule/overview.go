package schedule

import (
	"strings"
	"time"

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

// View looks at all there is.
func (m *Machine) View() View {
	counts := map[Share]*Count{}
	for _, t := range m.tasks {
		lane := keyOf(t)
		share := Share{t.entry.Meta.Tenant, lane.backend, lane.class}
		if counts[share] == nil {
			if len(counts) == maxShare {
				continue
			}
			counts[share] = &Count{}
		}
		counts[share].add(t.phase)
	}
	v := View{Rows: make([]Row, 0, len(counts)), Keys: make([]KeyUse, 0, len(m.keys))}
	for share, n := range counts {
		v.Rows = append(v.Rows, Row{share, *n})
	}
	for _, k := range m.keys {
		if len(v.Keys) == maxShare {
			break
		}
		tenant, name, _ := strings.Cut(k.name, "\x00")
		v.Keys = append(v.Keys, KeyUse{tenant, name, k.max, len(k.parked), k.running})
	}
	return v
}

func (c *Count) add(p phase) {
	switch p {
	case ready:
		c.Ready++
	case delayed:
		c.Delayed++
	case parked:
		c.Parked++
	case beginning, running:
		c.Running++
	case waiting:
		c.Waiting++
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

// Move has up to limit entries appended to the log again that are older than a time, so that tasks which take
// long do not keep the log from being cut short.
func (m *Machine) Move(before time.Time, limit int) []queue.Change {
	var changes []queue.Change
	for _, t := range m.tasks {
		if len(changes) == limit {
			break
		}
		if t.phase != ending && t.entry.Before(before) {
			e := t.entry
			changes = append(changes, queue.Change{Task: e.Task, Move: &e})
		}
	}
	return changes
}
