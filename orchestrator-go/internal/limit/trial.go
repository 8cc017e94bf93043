package limit

import "time"

const (
	dipShare   = 0.7 // of what the backend carries
	dipWindows = 2   // a dip's window is this much longer
	probeCost  = 20  // a dip is at most one part in this of the time
	riseEvery  = 4   // a rise in vain is repeated this much more often than a dip
)

// kind is why a trial changed the limit.
type kind int

const (
	reduction kind = iota // too many seemed to wait
	dip                   // the baseline is to be measured below the knee; to be undone
	rise                  // too few seemed to wait
)

// trial is a change of the limit of which the next window tells whether it was right. By
// Little's law latencies change by the change in flight over the rate if attempts waited
// before and after; if nothing waited they stay. What is nearer to the outcome is believed.
type trial struct {
	kind  kind
	from  summary // before the first change
	last  summary // before the latest change
	limit float64 // before the first change
	begun time.Time
	lower bool // the dip already found latencies below the baseline
}

// try changes the limit, if only by one.
func (v *Vegas) try(now time.Time, s summary, why kind, to float64) {
	before := v.limit
	v.waits = 0
	v.move(to)
	if (why == rise) != (v.limit > before) || int(v.limit) == int(before) {
		v.move(before)
		v.settling = false
		return
	}
	v.trial = &trial{kind: why, from: s, last: s, limit: before, begun: now}
}

// conclude reads a trial's outcome.
func (v *Vegas) conclude(now time.Time, s summary) {
	t := v.trial
	change := (s.latency - t.last.latency) * t.last.rate
	more := s.inFlight - t.last.inFlight
	switch t.kind {
	case reduction:
		v.trial = nil
		if change <= more/2 {
			v.baseline = min(v.baseline, s.latency)
			return
		}
		// Nothing had waited: the baseline was too low.
		v.baseline = s.latency
		v.move(min(t.limit, v.knee(t.from)+target(t.limit)))
	case dip:
		v.concludeDip(now, s, change <= (more-v.waiting(t.last))/2)
	case rise:
		v.trial = nil
		if change < more/2 {
			v.baseline += v.opt.Smoothing * (t.last.latency - v.baseline)
			v.rise(now, s)
			return
		}
		v.nextRise = now.Add(v.opt.ProbeEvery / riseEvery)
		v.move(max(t.limit, v.knee(s)+target(t.limit)))
	}
}

// concludeDip takes the latency for the baseline, unless it fell by so much that even this
// limit may be above the knee.
func (v *Vegas) concludeDip(now time.Time, s summary, lower bool) {
	t := v.trial
	if lower {
		t.lower, t.last = true, s
		v.baseline = min(v.baseline, s.latency)
		before := v.limit
		if v.move(dipShare * s.inFlight); int(v.limit) < int(before) {
			return
		}
	}
	v.trial = nil
	if t.lower {
		v.baseline = s.latency
	} else {
		v.baseline += v.opt.Smoothing * (s.latency - v.baseline)
	}
	v.move(min(t.limit, v.knee(t.from)+target(t.limit)))
	v.nextDip = now.Add(max(v.opt.ProbeEvery, probeCost*now.Sub(t.begun)))
}
