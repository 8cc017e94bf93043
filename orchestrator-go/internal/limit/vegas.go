package limit

import (
	"fmt"
	"sync"
	"time"
)

// Vegas finds the limit at which a backend is busy and hardly anything waits in it. Make one
// with NewVegas.
//
// Like TCP Vegas (Brakmo and Peterson, 1995) and the Vegas and gradient limits of Netflix's
// concurrency-limits, it compares latencies with a baseline, the latency of an idle backend,
// and keeps the estimated number of waiting attempts near a target. Three things differ:
//
//   - The estimate is Little's law, rate × (latency − baseline), and not
//     limit × (1 − baseline/latency). Both are the same where the latency covers the whole
//     attempt. Only the first holds where it covers all but the command's own run time, as ours does.
//     It also tells how far to cut: to what is in flight less what waits, in one step.
//   - The baseline is not a minimum over all times. Every cut is an experiment: if less in
//     flight did not make latencies shorter by what Little's law predicts, nothing had waited:
//     then the baseline was too low, rises, and the cut is undone. And from time to time the
//     limit dips below the knee to measure the baseline afresh, as BBR does (Cardwell et al., 2016)
//     and as Envoy's gradient controller does.
//   - A latency is the median of a window that lasts until the median is exact enough for the
//     decision: heavy tails do not move it, and light load does not add noise.
//
// The target is of the order of the limit's square root, as in Gradient2 and in the staffing
// rule of Halfin and Whitt (1981): what fluctuates in a well-used backend grows with it.
type Vegas struct {
	mu       sync.Mutex
	opt      Options
	limit    float64
	inFlight int
	window   window

	baseline float64 // seconds; 0 until the first window
	latest   summary
	settling bool      // samples do not count yet: they began under another limit
	settled  time.Time // when they count; zero until no more is in flight than the limit allows
	waits    int       // windows in a row that found too many waiting
	decided  time.Time // when latencies last told something

	trial    *trial
	nextDip  time.Time
	nextRise time.Time

	judged   bool // anything but the capacity has told of the limit
	capacity int
	load     load
}

// NewVegas returns a limiter at its initial limit.
func NewVegas(o Options) (*Vegas, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the vegas limiter: %w", err)
	}
	v := &Vegas{opt: o, limit: float64(o.Initial)}
	v.window.restart(time.Now())
	return v, nil
}

// TryAcquire takes a slot if one is free.
func (v *Vegas) TryAcquire() (Permit, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.inFlight >= int(v.limit) {
		return nil, false
	}
	now := time.Now()
	v.pass(now)
	v.inFlight++
	return &vegasPermit{limiter: v, begun: now}, true
}

// Limit is the current limit.
func (v *Vegas) Limit() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return int(v.limit)
}

// InFlight is the number of permits that are out.
func (v *Vegas) InFlight() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.inFlight
}

// Baseline is the estimated latency of an idle backend; 0 is not known yet.
func (v *Vegas) Baseline() time.Duration {
	v.mu.Lock()
	defer v.mu.Unlock()
	return time.Duration(v.baseline * float64(time.Second))
}

// pass accounts for the time since the last event.
func (v *Vegas) pass(now time.Time) {
	v.window.pass(now, v.inFlight, v.inFlight >= int(v.limit))
}

// settle waits until samples tell of the limit as it is now: after as much time as a permit
// was out of late, since no more was in flight than is allowed.
func (v *Vegas) settle(now time.Time) {
	if v.settled.IsZero() {
		if v.inFlight > int(v.limit) {
			return
		}
		v.settled = now.Add(time.Duration(v.latest.held * float64(time.Second)))
	}
	if !now.Before(v.settled) {
		v.settling = false
		v.window.restart(now)
	}
}
