package schedule

// ranked is what can be in a ranking: it knows its place there, so that it can be moved and taken out.
type ranked[T any] interface {
	before(other T) bool
	at(index int) // -1 when it is taken out
}

// ranking is a heap with the first on top. It implements heap.Interface.
type ranking[T ranked[T]] []T

// Len implements heap.Interface.
func (h ranking[T]) Len() int { return len(h) }

// Less implements heap.Interface.
func (h ranking[T]) Less(i, j int) bool { return h[i].before(h[j]) }

// Swap implements heap.Interface.
func (h ranking[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at(i)
	h[j].at(j)
}

// Push implements heap.Interface.
func (h *ranking[T]) Push(x any) {
	item := x.(T)
	item.at(len(*h))
	*h = append(*h, item)
}

// Pop implements heap.Interface.
func (h *ranking[T]) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	clear((*h)[last:])
	*h = (*h)[:last]
	item.at(-1)
	return item
}
