package limit

import (
	"math"
	"time"
)

const (
	dropShare   = 0.1  // of a window's ends, from which the limit falls
	dropCut     = 0.7  // and to what share of what was in flight
	cutAbove    = 1.5  // times the target wait: the limit is cut
	growthShare = 0.25 // of the limit, in one step
)

// target is how many may wait in the backend at a limit.
func target(limit float64) float64 { return max(1, math.Sqrt(limit)/2) }

// look decides once the window is complete.
func (v *Vegas) look(now time.Time) {
	w := &v.window
	elapsed := now.Sub(w.begun)
	if elapsed < v.opt.Window {
		return
	}
	if all := w.ends + w.drops; w.drops > 1 && float64(w.drops) >= dropShare*float64(all) {
		v.trial, v.judged = nil, true
		v.cut(dropCut * min(v.limit, w.area/elapsed.Seconds()))
		w.restart(now)
		return
	}
	if w.ends < v.opt.MinSamples || w.ends < w.nextLook {
		return
	}
	s := w.summarize(now)
	least, exact := v.wanted()
	if elapsed < v.opt.MaxWindow && (elapsed < least || s.rate*s.err > exact) {
		w.nextLook = w.ends + w.ends/4
		return
	}
	v.latest = s
	w.restart(now)
	v.decide(now, s)
}

// wanted is how long a window lasts at least, and how exact its count of those that wait has to be.
func (v *Vegas) wanted() (least time.Duration, exact float64) {
	exact = target(v.limit) / 2
	if v.trial == nil {
		return v.opt.Window, exact
	}
	switch v.trial.kind {
	case dip:
		return dipWindows * v.opt.Window, exact / math.Sqrt(dipWindows)
	case rise:
		return v.opt.Window, max(exact, (v.limit-v.trial.limit)/4)
	default:
		return v.opt.Window, exact
	}
}

func (v *Vegas) decide(now time.Time, s summary) {
	v.decided = now
	v.judged = v.judged || s.full || v.trial != nil // one with room left says nothing of the limit
	if v.baseline == 0 {
		v.baseline = s.latency
	}
	if v.trial != nil {
		v.conclude(now, s)
		return
	}
	v.drift(s)
	if !s.full {
		v.waits = 0
		return
	}
	aim := target(v.limit)
	waiting := v.waiting(s)
	if waiting > cutAbove*aim {
		// Once may be noise, or a window that saw two capacities.
		if v.waits++; v.waits > 1 {
			v.try(now, s, reduction, v.knee(s)+aim)
		}
		return
	}
	v.waits = 0
	switch {
	case !now.Before(v.nextDip) && v.dips(s):
		v.nextDip = now.Add(v.opt.ProbeEvery)
		v.try(now, s, dip, dipShare*v.knee(s))
	case !now.Before(v.nextRise):
		v.rise(now, s)
	}
}

// dips says whether a dip would lower the limit. At the lowest there is none to make, and it must not keep the limit there.
func (v *Vegas) dips(s summary) bool {
	return int(max(dipShare*v.knee(s), float64(v.opt.Min))) < int(v.limit)
}

// rise tries a higher limit.
func (v *Vegas) rise(now time.Time, s summary) {
	if v.load.lets(now) {
		v.try(now, s, rise, v.limit+max(1, growthShare*v.limit))
	}
}

// waiting estimates how many of the attempts in flight wait, by Little's law.
func (v *Vegas) waiting(s summary) float64 {
	return max(0, min(s.inFlight, s.rate*(s.latency-v.baseline)))
}

// knee estimates how many the backend carries at once.
func (v *Vegas) knee(s summary) float64 { return s.inFlight - v.waiting(s) }

// drift follows the latency where nothing can have waited.
func (v *Vegas) drift(s summary) {
	switch {
	case s.latency < v.baseline-3*s.err:
		v.baseline = s.latency
	case !s.full && 2*s.inFlight < v.limit:
		v.baseline += v.opt.Smoothing / 5 * (s.latency - v.baseline)
	}
}

// cut lowers the limit, never raises it.
func (v *Vegas) cut(to float64) {
	v.waits = 0
	if to < v.limit {
		v.move(to)
	}
}

// move changes the limit. Samples count again once they tell of it.
func (v *Vegas) move(to float64) {
	to = min(max(to, float64(v.opt.Min)), float64(v.opt.Max))
	if int(to) != int(v.limit) {
		v.settling, v.settled = true, time.Time{}
	}
	v.limit = to
}
