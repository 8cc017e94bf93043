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
	rise                  // not too many seemed to wait
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
	if !s.full {
		// Too little was there to do: the outcome says nothing.
		v.trial = nil
		if t.kind != reduction {
			v.move(t.limit)
		}
		return
	}
	change := (s.latency - t.last.latency) * t.last.rate
	more := s.inFlight - t.last.inFlight
	switch t.kind {
	case reduction:
		if change > more/2 {
			// Nothing seems to have waited, so the baseline was too low.
			v.baseline = s.latency
			v.deepen(now, s)
			return
		}
		v.trial = nil
		v.baseline = min(v.baseline, s.latency)
	case dip:
		v.concludeDip(now, s, change <= (more-v.waiting(t.last))/2)
	case rise:
		v.trial = nil
		if change < more/2 {
			if v.waiting(t.last) > target(t.limit) {
				// As many as wanted seemed to wait, and none did.
				v.baseline += v.opt.Smoothing * (t.last.latency - v.baseline)
			}
			v.rise(now, s)
			return
		}
		v.nextRise = now.Add(v.opt.ProbeEvery / riseEvery)
		v.move(max(t.limit, v.knee(s)+target(t.limit)))
	}
}

// deepen goes on to measure the baseline below what is in flight now.
func (v *Vegas) deepen(now time.Time, s summary) {
	t := v.trial
	t.kind, t.last = dip, s
	before := v.limit
	if v.move(dipShare * s.inFlight); int(v.limit) == int(before) {
		v.settling = false
		v.endDip(now)
	}
}

// concludeDip takes the latency for the baseline, unless it fell by so much that even this
// limit may be above the knee.
func (v *Vegas) concludeDip(now time.Time, s summary, lower bool) {
	t := v.trial
	switch {
	case lower:
		t.lower = true
		v.baseline = min(v.baseline, s.latency)
		v.deepen(now, s)
		return
	case t.lower:
		v.baseline = s.latency
	default:
		v.baseline += v.opt.Smoothing * (s.latency - v.baseline)
	}
	v.endDip(now)
}

func (v *Vegas) endDip(now time.Time) {
	t := v.trial
	v.trial = nil
	v.move(min(t.limit, v.knee(t.from)+target(t.limit)))
	v.nextDip = now.Add(max(v.opt.ProbeEvery, probeCost*now.Sub(t.begun)))
}
