package limit

import (
	"cmp"
	"slices"
	"sync"
)

// Key names a limiter: attempts at tasks of one class on one backend.
type Key struct{ Backend, Class string }

// Group has one limiter per key, made when it is first asked for. Make one with NewGroup.
type Group struct {
	create func(Key) Limiter
	mu     sync.Mutex
	all    map[Key]Limiter
}

// NewGroup returns a group without limiters; create makes them.
func NewGroup(create func(Key) Limiter) *Group {
	return &Group{create: create, all: map[Key]Limiter{}}
}

// Get is the key's limiter.
func (g *Group) Get(key Key) Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.all[key] == nil {
		g.all[key] = g.create(key)
	}
	return g.all[key]
}

// Each calls f for every limiter in the order of the keys, such as for metrics.
func (g *Group) Each(f func(Key, Limiter)) {
	g.mu.Lock()
	keys := make([]Key, 0, len(g.all))
	for key := range g.all {
		keys = append(keys, key)
	}
	g.mu.Unlock()
	slices.SortFunc(keys, func(a, b Key) int {
		return cmp.Or(cmp.Compare(a.Backend, b.Backend), cmp.Compare(a.Class, b.Class))
	})
	for _, key := range keys {
		f(key, g.Get(key))
	}
}

// Pressure passes a backend's report on to its limiters of all classes.
func (g *Group) Pressure(backend string, p float64) {
	g.Each(func(key Key, l Limiter) {
		if key.Backend == backend {
			l.Pressure(p)
		}
	})
}
