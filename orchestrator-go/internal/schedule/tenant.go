package schedule

// tenant is one tenant's part of a lane.
type tenant struct {
	name    string
	ready   byPriority
	running int
	served  uint64 // the lane's turn at which it was served last
	index   int    // among those that wait; -1 for none
}

// tenants is a heap of those with ready tasks, the next to be served on top.
type tenants []*tenant

func (h tenants) Len() int { return len(h) }

func (h tenants) Less(i, j int) bool {
	if h[i].running != h[j].running {
		return h[i].running < h[j].running
	}
	return h[i].served < h[j].served
}

func (h tenants) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *tenants) Push(x any) {
	t := x.(*tenant)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *tenants) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h, t.index = (*h)[:last], -1
	return t
}

// byPriority is a heap of tasks: the highest priority on top, of equals the oldest.
type byPriority []*task

func (h byPriority) Len() int { return len(h) }

func (h byPriority) Less(i, j int) bool {
	if a, b := h[i].entry.Meta.Priority, h[j].entry.Meta.Priority; a != b {
		return a > b
	}
	return h[i].seq < h[j].seq
}

func (h byPriority) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push implements heap.Interface.
func (h *byPriority) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *byPriority) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h, t.index = (*h)[:last], -1
	return t
}
