package schedule

import "container/heap"

// limitKey bounds how many of the tasks that share it run at once, over all tenants' lanes and backends: the
// leader is the only one that begins attempts, so its count is exact. Each task says of how many it may be one: one
// with a small number waits until as few run, and holds nobody up meanwhile who may be one of more.
type limitKey struct {
	name    string
	max     int // as the latest task has it that came to wait for its turn
	running int
	parked  map[laneKey]map[int]*byPriority // by what the tasks allow: no more of these than have run at once
	count   int                             // of those that are parked
}

// key is a task's limit key; nil for none.
func (m *Machine) key(t *task) *limitKey {
	name := t.entry.Meta.LimitKey
	if name == "" {
		return nil
	}
	name = t.entry.Meta.Tenant + "\x00" + name // one tenant's keys are nothing to another
	if m.keys[name] == nil {
		m.keys[name] = &limitKey{name: name, parked: map[laneKey]map[int]*byPriority{}}
	}
	return m.keys[name]
}

// limit is how many tasks with its key may run at once for it to be one of them.
func (t *task) limit() int { return max(1, t.entry.Meta.LimitMax) }

func (k *limitKey) full(t *task) bool { return k.running >= t.limit() }

func (k *limitKey) park(t *task) {
	lane := k.parked[keyOf(t)]
	if lane == nil {
		lane = map[int]*byPriority{}
		k.parked[keyOf(t)] = lane
	}
	if lane[t.limit()] == nil {
		lane[t.limit()] = &byPriority{}
	}
	heap.Push(lane[t.limit()], t)
	k.count++
}

func (k *limitKey) remove(t *task) {
	lane := k.parked[keyOf(t)]
	alike := lane[t.limit()]
	heap.Remove(alike, t.index)
	if k.count--; alike.Len() == 0 {
		delete(lane, t.limit())
	}
	if len(lane) == 0 {
		delete(k.parked, keyOf(t))
	}
}

// next is the first of a lane's parked tasks that may run beside so many; nil when there is none.
func (k *limitKey) next(lane laneKey, beside int) (first *task) {
	for limit, alike := range k.parked[lane] {
		if head := (*alike)[0]; beside < limit && (first == nil || head.before(first)) {
			first = head
		}
	}
	return first
}

// unpark makes as many ready again as there is room for, and forgets a key without tasks: in each lane, for others may
// be full. A ready one that finds the room taken is parked again when its turn comes.
func (m *Machine) unpark(k *limitKey) {
	for lane := range k.parked {
		for began := k.running; ; began++ {
			t := k.next(lane, began)
			if t == nil {
				break
			}
			k.remove(t)
			t.enter(ready)
			m.lanes.push(t)
		}
	}
	if k.running == 0 && k.count == 0 {
		delete(m.keys, k.name)
	}
}

// withdraw takes a task out of wherever it waits for its turn.
func (m *Machine) withdraw(t *task) {
	switch t.phase {
	case parked:
		m.key(t).remove(t)
	case ready:
		m.lanes.of(t).remove(t)
	}
	if key := m.key(t); key != nil {
		m.unpark(key) // it may have been given the room that another waits for
	}
}
