package limit

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
)

// Failsafe is failsafe-go's adaptive limiter. Make one with NewFailsafe.
//
// It differs from what the interface offers: it takes the time that a permit was out for the
// latency, the command's own run time included, since its permits accept no other; an attempt
// that was dropped is one like others, as to its own executor; and it knows no pressure.
type Failsafe struct {
	limiter adaptivelimiter.AdaptiveLimiter[any]
	limit   atomic.Int64 // as last seen, to notice growth
	onGrow  func()
}

// NewFailsafe returns a limiter with the options' limits and windows; failsafe-go's own windows
// would be of 1 s, 30 s and 50 samples. Smoothing and ProbeEvery mean nothing to it.
func NewFailsafe(o Options) (*Failsafe, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the failsafe limiter: %w", err)
	}
	f := &Failsafe{onGrow: o.OnGrow, limiter: adaptivelimiter.NewBuilder[any]().
		WithLimits(uint(o.Min), uint(o.Max), uint(o.Initial)).
		WithRecentWindow(o.Window, o.MaxWindow, uint(o.MinSamples)).Build()}
	f.limit.Store(int64(o.Initial))
	return f, nil
}

// TryAcquire takes a slot if one is free.
func (f *Failsafe) TryAcquire() (Permit, bool) {
	p, ok := f.limiter.TryAcquirePermit()
	if !ok {
		return nil, false
	}
	return &failsafePermit{limiter: f, permit: p}, true
}

// Limit is the current limit.
func (f *Failsafe) Limit() int { return f.limiter.Limit() }

// InFlight is the number of permits that are out.
func (f *Failsafe) InFlight() int { return f.limiter.Inflight() }

// Pressure does nothing.
func (f *Failsafe) Pressure(float64) {}

// Capacity does nothing.
func (f *Failsafe) Capacity(int) {}

// ended notices growth. The library's own listener comes before the new limit holds.
func (f *Failsafe) ended() {
	now := int64(f.limiter.Limit())
	if before := f.limit.Swap(now); now > before && f.onGrow != nil {
		f.onGrow()
	}
}

type failsafePermit struct {
	limiter *Failsafe
	permit  adaptivelimiter.Permit
	done    atomic.Bool
}

func (p *failsafePermit) Done(time.Duration) {
	if p.done.CompareAndSwap(false, true) {
		p.permit.Record()
		p.limiter.ended()
	}
}

func (p *failsafePermit) Dropped() { p.Done(0) }

func (p *failsafePermit) Ignore() {
	if p.done.CompareAndSwap(false, true) {
		p.permit.Drop()
		p.limiter.ended()
	}
}
