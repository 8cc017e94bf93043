package schedule

import (
	"cmp"
	"container/heap"

	"dspyagent.io/orchestrator/internal/queue"
)

// laneKey tells lanes apart: each has limits of its own.
type laneKey struct {
	backend string
	class   queue.Class
}

// lane holds the ready tasks of one class for one backend, shared evenly by tenants: the next task is one of the
// tenant with the fewest attempts running, and of equals the one that was served longest ago. So a tenant gets the next
// free place whatever another has queued (max-min fairness; weights are left out until somebody needs them).
type lane struct {
	key     laneKey
	tenants map[string]*tenant
	waiting tenants // those with ready tasks
	turn    uint64
	ready   int
	running int
}

// lanes take turns.
type lanes struct {
	byKey map[laneKey]*lane
	order []*lane
	next  int
}

func keyOf(t *task) laneKey {
	return laneKey{cmp.Or(t.entry.Meta.Backend, queue.RunnerBackend), t.entry.Meta.Class}
}

func (l *lanes) of(t *task) *lane {
	key := keyOf(t)
	if l.byKey[key] == nil {
		l.byKey[key] = &lane{key: key, tenants: map[string]*tenant{}}
		l.order = append(l.order, l.byKey[key])
	}
	return l.byKey[key]
}

func (l *lanes) push(t *task) { l.of(t).push(t) }

// pick takes the next task that acquire lets pass, from the next lane that has one; nil when there is none.
// Those that barred names are taken out of their lanes on the way.
func (l *lanes) pick(barred, acquire func(*task) bool) *task {
	for range l.order {
		lane := l.order[l.next%len(l.order)]
		l.next++
		t := lane.peek()
		for t != nil && barred(t) {
			t = lane.peek()
		}
		if t != nil && acquire(t) {
			lane.pop()
			return t
		}
	}
	return nil
}

func (l *lane) tenant(name string) *tenant {
	if l.tenants[name] == nil {
		l.tenants[name] = &tenant{name: name, index: -1}
	}
	return l.tenants[name]
}

func (l *lane) push(t *task) {
	owner := l.tenant(t.entry.Meta.Tenant)
	heap.Push(&owner.ready, t)
	l.ready++
	if owner.index < 0 {
		heap.Push(&l.waiting, owner)
	}
}

func (l *lane) peek() *task {
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0].ready[0]
}

func (l *lane) pop() {
	owner := l.waiting[0]
	heap.Pop(&owner.ready)
	l.ready--
	l.turn++
	owner.running, owner.served = owner.running+1, l.turn
	l.running++
	l.settle(owner)
}

// remove takes a ready task out of the lane.
func (l *lane) remove(t *task) {
	owner := l.tenant(t.entry.Meta.Tenant)
	heap.Remove(&owner.ready, t.index)
	l.ready--
	l.settle(owner)
}

// ended notes that an attempt of a tenant no longer runs.
func (l *lane) ended(t *task) {
	owner := l.tenant(t.entry.Meta.Tenant)
	owner.running--
	l.running--
	l.settle(owner)
}

// settle puts a tenant where it belongs after a change, and forgets it when nothing is left of it.
func (l *lane) settle(owner *tenant) {
	switch {
	case owner.index < 0:
	case len(owner.ready) == 0:
		heap.Remove(&l.waiting, owner.index)
	default:
		heap.Fix(&l.waiting, owner.index)
	}
	if len(owner.ready) == 0 && owner.running == 0 {
		delete(l.tenants, owner.name)
	}
}
