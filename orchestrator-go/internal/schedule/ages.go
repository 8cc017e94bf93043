package schedule

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// aged is a task with the place in the log of its entry. It may be out of date.
type aged struct {
	ms, seq uint64
	entry   string
	task    *task
}

// ages has the oldest entry on top. As entries come in order, adding one takes no search.
type ages []aged

func (h ages) Len() int { return len(h) }
func (h ages) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[i].ms, h[j].ms), cmp.Compare(h[i].seq, h[j].seq)) < 0
}
func (h ages) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *ages) Push(x any) { *h = append(*h, x.(aged)) }

// Pop implements heap.Interface.
func (h *ages) Pop() any {
	last := len(*h) - 1
	a := (*h)[last]
	(*h)[last] = aged{}
	*h = (*h)[:last]
	return a
}

func (a aged) current() bool { return a.task.phase != ending && a.task.entry.ID == a.entry }

// note remembers how old the task's entry is.
func (h *ages) note(t *task) {
	ms, seq := t.entry.At()
	heap.Push(h, aged{ms, seq, t.entry.ID, t})
}

// sweep drops what is out of date, once that is most.
func (h *ages) sweep(tasks int) {
	if len(*h) < 1024+2*tasks {
		return
	}
	*h = slices.DeleteFunc(*h, func(a aged) bool { return !a.current() })
	heap.Init(h)
}

// Move has up to limit entries appended to the log again that are older than a time, the oldest first, so that tasks
// which take long do not keep the log from being cut short. The old one is settled when the new one is read.
func (m *Machine) Move(before time.Time, limit int) []queue.Change {
	var changes []queue.Change
	for len(m.ages) > 0 && len(changes) < limit {
		if top := m.ages[0]; top.current() && !top.task.entry.Before(before) {
			break
		}
		if a := heap.Pop(&m.ages).(aged); a.current() {
			e := a.task.entry
			e.Begun = a.task.logged
			changes = append(changes, queue.Change{Task: e.Task, Move: &e})
		}
	}
	return changes
}
