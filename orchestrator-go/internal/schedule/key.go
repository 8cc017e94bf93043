package schedule

import "container/heap"

// limitKey bounds how many of the tasks that share it run at once, over all tenants' lanes and backends: the
// leader is the only one that begins attempts, so its count is exact.
type limitKey struct {
	name    string
	max     int // as the latest task has it
	running int
	parked  byPriority
}

// key is a task's limit key; nil for none.
func (m *Machine) key(t *task) *limitKey {
	name := t.entry.Meta.LimitKey
	if name == "" {
		return nil
	}
	name = t.entry.Meta.Tenant + "\x00" + name // one tenant's keys are nothing to another
	if m.keys[name] == nil {
		m.keys[name] = &limitKey{name: name}
	}
	m.keys[name].max = max(1, t.entry.Meta.LimitMax)
	return m.keys[name]
}

func (k *limitKey) full(t *task) bool { return k.running >= max(1, t.entry.Meta.LimitMax) }

func (k *limitKey) park(t *task) { heap.Push(&k.parked, t) }

// unpark makes as many ready again as there is room for, and forgets a key without tasks. A ready one that finds
// the room taken is parked again when its turn comes.
func (m *Machine) unpark(k *limitKey) {
	for began := k.running; len(k.parked) > 0 && began < max(1, k.parked[0].entry.Meta.LimitMax); began++ {
		t := heap.Pop(&k.parked).(*task)
		t.enter(ready)
		m.lanes.push(t)
	}
	if k.running == 0 && len(k.parked) == 0 {
		delete(m.keys, k.name)
	}
}

// withdraw takes a task out of wherever it waits for its turn.
func (m *Machine) withdraw(t *task) {
	switch t.phase {
	case parked:
		heap.Remove(&m.key(t).parked, t.index)
	case ready:
		m.lanes.of(t).remove(t)
	}
	if key := m.key(t); key != nil {
		m.unpark(key) // it may have been given the room that another waits for
	}
}
