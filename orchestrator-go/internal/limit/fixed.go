package limit

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Fixed is a limit that never changes. Make one with NewFixed.
type Fixed struct {
	limit    int64
	inFlight atomic.Int64
}

// NewFixed returns a limiter of n slots.
func NewFixed(n int) (*Fixed, error) {
	if n < 1 {
		return nil, fmt.Errorf("a limit must be at least 1, not %d", n)
	}
	return &Fixed{limit: int64(n)}, nil
}

// TryAcquire takes a slot if one is free.
func (f *Fixed) TryAcquire() (Permit, bool) {
	if f.inFlight.Add(1) > f.limit {
		f.inFlight.Add(-1)
		return nil, false
	}
	return &fixedPermit{limiter: f}, true
}

// Limit is the number of slots.
func (f *Fixed) Limit() int { return int(f.limit) }

// InFlight is the number of slots in use.
func (f *Fixed) InFlight() int { return int(min(f.inFlight.Load(), f.limit)) }

// Pressure does nothing.
func (f *Fixed) Pressure(float64) {}

// Capacity does nothing.
func (f *Fixed) Capacity(int) {}

type fixedPermit struct {
	limiter *Fixed
	ended   atomic.Bool
}

func (p *fixedPermit) Done(time.Duration) { p.Ignore() }
func (p *fixedPermit) Dropped()           { p.Ignore() }

func (p *fixedPermit) Ignore() {
	if p.ended.CompareAndSwap(false, true) {
		p.limiter.inFlight.Add(-1)
	}
}
