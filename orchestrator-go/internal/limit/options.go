package limit

import (
	"errors"
	"fmt"
	"time"
)

// Options are the settings of an adaptive limiter; Defaults has them all.
type Options struct {
	Min, Max, Initial int // limits: 1 <= Min <= Initial <= Max

	Window     time.Duration // shortest time over which latencies are summed up
	MaxWindow  time.Duration // after it, fewer samples than wanted are enough
	MinSamples int           // fewest latencies that make a summary
	Smoothing  float64       // weight of a new measurement of the baseline, above 0, at most 1
	ProbeEvery time.Duration // between measurements of the baseline under less load

	// OnGrow, where set, is called after the limit grew: inside the call that made it grow,
	// on that call's goroutine, without the limiter's lock. The caller's own locks are still
	// held, so it should only signal.
	OnGrow func()
}

// Defaults are the options for a backend of unknown size.
func Defaults() Options {
	return Options{
		Min: 1, Max: 1024, Initial: 16,
		Window: 200 * time.Millisecond, MaxWindow: 2 * time.Second, MinSamples: 10,
		Smoothing: 0.5, ProbeEvery: 10 * time.Second,
	}
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	var all []error
	if o.Min < 1 || o.Min > o.Initial || o.Initial > o.Max {
		all = append(all, fmt.Errorf("limits must be 1 <= min <= initial <= max, not %d, %d, %d", o.Min, o.Initial, o.Max))
	}
	if o.Window <= 0 || o.MaxWindow < o.Window {
		all = append(all, fmt.Errorf("windows must be 0 < window <= max window, not %v, %v", o.Window, o.MaxWindow))
	}
	if o.MinSamples < 2 {
		all = append(all, fmt.Errorf("min samples must be at least 2, not %d", o.MinSamples))
	}
	if !(o.Smoothing > 0 && o.Smoothing <= 1) {
		all = append(all, fmt.Errorf("smoothing must be above 0 and at most 1, not %v", o.Smoothing))
	}
	if o.ProbeEvery <= 0 {
		all = append(all, fmt.Errorf("probe every must be above 0, not %v", o.ProbeEvery))
	}
	return errors.Join(all...)
}
