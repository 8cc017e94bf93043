package limit

import (
	"math"
	"time"
)

const (
	saturated  = 0.95 // pressure from which the limit does not grow: a kernel's averages reach 1 late
	overloaded = 1.05 // pressure from which the limit falls at once
	relaxed    = 0.7  // pressure below which it may come back to the capacity

	// lastingly is how long a pressure has to last to change the limit by a step: as long as a kernel averages over.
	lastingly = 10 * time.Second
	stepDown  = 0.9
	stepUp    = 1 / stepDown

	// pressureLasts is how long a report of pressure counts.
	pressureLasts = 5 * time.Second
)

// load is what a backend reports of itself.
type load struct {
	pressure float64
	at       time.Time
	since    time.Time // since when it has been in this range
}

// ranges: to shrink, to leave the limit alone, to grow.
func rangeOf(pressure float64) int {
	switch {
	case pressure > saturated:
		return -1
	case pressure < relaxed:
		return 1
	}
	return 0
}

func (l *load) take(now time.Time, p float64) {
	if rangeOf(p) != rangeOf(l.pressure) || now.Sub(l.at) >= pressureLasts {
		l.since = now
	}
	l.pressure, l.at = p, now
}

// lets says whether the limit may grow.
func (l *load) lets(now time.Time) bool {
	return l.pressure < saturated || now.Sub(l.at) >= pressureLasts
}

// Pressure takes a backend's report. Well above 1 the limit falls at once to what it can carry; close to 1 it does not
// grow, and when that lasts it falls step by step: processors that all have too much to do make commands slow, not
// attempts wait. What fell for that comes back as slowly, where attempts take too long for latencies to tell.
func (v *Vegas) Pressure(p float64) {
	if !(p >= 0) || math.IsInf(p, 1) {
		return
	}
	if v.press(time.Now(), p) && v.opt.OnGrow != nil {
		v.opt.OnGrow()
	}
}

func (v *Vegas) press(now time.Time, p float64) (grew bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	before := int(v.limit)
	v.load.take(now, p)
	switch {
	case p > overloaded:
		if !v.settling {
			v.trial, v.judged = nil, true
			v.cut(float64(v.inFlight)/p + target(v.limit))
		}
	case now.Sub(v.load.since) < lastingly || rangeOf(p) == 0:
	case rangeOf(p) < 0:
		v.ease(now)
	default:
		v.comeBack(now)
	}
	return int(v.limit) > before
}

// ease lowers the limit by a step, once what is in flight has followed the one before.
func (v *Vegas) ease(now time.Time) {
	if v.inFlight > int(v.limit) {
		return
	}
	v.load.since, v.trial, v.judged = now, nil, true
	v.cut(stepDown * v.limit)
}

// comeBack raises a limit below the capacity by a step, if it is in use and no latencies tell what it should be.
func (v *Vegas) comeBack(now time.Time) {
	if v.inFlight < int(v.limit) || now.Sub(v.decided) < lastingly || v.limit >= float64(v.capacity) {
		return
	}
	v.load.since = now
	v.move(min(max(stepUp*v.limit, v.limit+1), float64(v.capacity)))
}

// Capacity takes how many attempts the backend says it takes at once. As long as nothing has told how many serve best,
// that is the limit, for where commands take hours nothing does for hours; later the limit changes in proportion, but
// does not grow beyond the capacity by that.
func (v *Vegas) Capacity(n int) {
	if n > 0 && v.resize(n) && v.opt.OnGrow != nil {
		v.opt.OnGrow()
	}
}

func (v *Vegas) resize(n int) (grew bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was, before := v.capacity, int(v.limit)
	v.capacity = n
	switch {
	case n == was:
	case !v.judged:
		v.move(float64(max(n, v.opt.Initial)))
	case was > 0:
		v.trial = nil
		v.move(min(v.limit*float64(n)/float64(was), max(v.limit, float64(n))))
	}
	return int(v.limit) > before
}
