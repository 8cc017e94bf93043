// Package limit bounds the attempts that run at once, per class of task and per backend.
//
// A limiter starts no goroutine and no timer: its limit changes inside the calls that feed it
// (the ends of permits and reports of pressure), so a scheduler needs no polling. Three
// implementations stand behind one interface: [Fixed], [Vegas] (ours) and [Failsafe]
// (failsafe-go's); package limitsim compares them.
package limit

import "time"

// Limiter says whether one more attempt may begin. Its methods may be called concurrently.
type Limiter interface {
	// TryAcquire takes a slot if one is free. It never waits.
	TryAcquire() (Permit, bool)
	// Limit is how many permits may be out at once, at least 1. After it fell, more may be out.
	Limit() int
	// InFlight is how many permits are out.
	InFlight() int
	// Pressure reports how loaded the backend says it is: work in it, waiting included, as a
	// share of what it can carry at once. 1 is saturated, more is overloaded. Where several
	// runners make up the backend it is the mean of their reports. A report counts for a few
	// seconds; a negative one or NaN is ignored.
	Pressure(p float64)
	// Capacity reports how many attempts the backend says it takes at once, each time that it may have changed; what is
	// not positive is ignored.
	Capacity(n int)
}

// Permit is one slot, given back by the first call of any of its methods; later calls do nothing.
type Permit interface {
	// Done gives the slot back after an answer, which took latency apart from the work itself:
	// the time to the result less the command's own run time as the runner measured it.
	Done(latency time.Duration)
	// Dropped gives the slot back after the backend turned the attempt away or let it time out.
	Dropped()
	// Ignore gives the slot back and says nothing of the backend, such as after a cancellation.
	Ignore()
}
