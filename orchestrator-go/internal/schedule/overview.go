package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// LaneView counts the tasks of one class for one backend.
type LaneView struct {
	Backend string
	Class   queue.Class
	Ready   int
	Running int // picked ones included
}

// View counts tasks by what they wait for.
type View struct {
	Lanes   []LaneView
	Delayed int
	Parked  int // by their limit keys
	Waiting int // for children, or as open scopes
	Total   int
}

// View looks at all there is.
func (m *Machine) View() View {
	v := View{Total: len(m.tasks)}
	for _, lane := range m.lanes.order {
		v.Lanes = append(v.Lanes, LaneView{lane.key.backend, lane.key.class, lane.ready, lane.running})
	}
	for _, t := range m.tasks {
		switch t.phase {
		case delayed:
			v.Delayed++
		case parked:
			v.Parked++
		case waiting:
			v.Waiting++
		}
	}
	return v
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
