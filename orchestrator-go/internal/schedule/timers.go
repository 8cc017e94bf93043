package schedule

import (
	"container/heap"
	"slices"
	"time"
)

// timerKind is what a timer is for.
type timerKind int

const (
	onReady timerKind = iota
	onDeadline
	onBudget
)

// timer wakes the machine for a task. It may be out of date: what it is for is looked at again when it fires.
type timer struct {
	at   time.Time
	kind timerKind
	task *task
}

type timers []timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timers) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = timer{}
	*h = (*h)[:last]
	return t
}

func (h *timers) push(t timer) { heap.Push(h, t) }

// sweep drops the timers of tasks that have ended, once they are most: a deadline may be days away.
func (h *timers) sweep(tasks int) {
	if len(*h) < 1024+4*tasks {
		return
	}
	*h = slices.DeleteFunc(*h, func(x timer) bool { return x.task.phase == ending })
	heap.Init(h)
}

// Wake is when Tick has something to do, if nothing else happens before; false for never.
func (m *Machine) Wake() (time.Time, bool) {
	var at time.Time
	if len(m.timers) > 0 {
		at = m.timers[0].at
	}
	if len(m.starts) > 0 {
		at = earlier(at, m.starts[0].startedAt.Add(m.opt.PublishAfter))
	}
	return at, !at.IsZero()
}

// Tick does what the passing of time asks for.
func (m *Machine) Tick(now time.Time) {
	m.timers.sweep(len(m.tasks))
	for len(m.timers) > 0 && !m.timers[0].at.After(now) {
		m.fire(now, heap.Pop(&m.timers).(timer))
	}
	for len(m.starts) > 0 && !m.starts[0].startedAt.Add(m.opt.PublishAfter).After(now) {
		t := m.starts[0]
		m.starts[0], m.starts = nil, m.starts[1:]
		if t.phase == running {
			m.dirty[t] = struct{}{}
		}
	}
}

func (m *Machine) fire(now time.Time, x timer) {
	t := x.task
	switch x.kind {
	case onReady:
		if t.phase == delayed && !t.notBefore.After(now) {
			m.enqueue(now, t)
		}
	case onDeadline:
		m.stop(now, t, deadlineExceeded)
	case onBudget:
		m.checkBudget(now, t)
	}
}
