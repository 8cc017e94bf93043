package limit

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func made[L Limiter](t *testing.T, make func() (L, error)) L {
	t.Helper()
	l, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// everyKind runs the test in a bubble with each implementation at a limit of 16.
func everyKind(t *testing.T, test func(*testing.T, Limiter)) {
	for name, create := range map[string]func(t *testing.T) Limiter{
		"fixed": func(t *testing.T) Limiter { return made(t, func() (*Fixed, error) { return NewFixed(16) }) },
		"vegas": func(t *testing.T) Limiter { return made(t, func() (*Vegas, error) { return NewVegas(Defaults()) }) },
		"failsafe": func(t *testing.T) Limiter {
			return made(t, func() (*Failsafe, error) { return NewFailsafe(Defaults()) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, create(t)) })
		})
	}
}

func TestOnlyAsManyAsTheLimit(t *testing.T) {
	everyKind(t, func(t *testing.T, l Limiter) {
		var permits []Permit
		for p, ok := l.TryAcquire(); ok; p, ok = l.TryAcquire() {
			permits = append(permits, p)
		}
		if len(permits) != 16 || l.Limit() != 16 || l.InFlight() != 16 {
			t.Fatalf("%d permits at limit %d, %d in flight; want 16", len(permits), l.Limit(), l.InFlight())
		}
		permits[0].Done(time.Millisecond)
		if l.InFlight() != 15 {
			t.Errorf("%d in flight after an end, want 15", l.InFlight())
		}
		if _, ok := l.TryAcquire(); !ok {
			t.Error("the slot was not free again")
		}
	})
}

func TestPermitsEndOnce(t *testing.T) {
	everyKind(t, func(t *testing.T, l Limiter) {
		ends := []func(Permit){func(p Permit) { p.Done(time.Millisecond) }, Permit.Dropped, Permit.Ignore}
		for i, first := range ends {
			p, ok := l.TryAcquire()
			other, otherOK := l.TryAcquire()
			if !ok || !otherOK {
				t.Fatal("no permit")
			}
			first(p)
			for _, again := range ends {
				again(p)
			}
			if l.InFlight() != 1 {
				t.Errorf("%d in flight after end %d came several times, want 1", l.InFlight(), i)
			}
			other.Ignore()
		}
	})
}

func TestManyAtOnce(t *testing.T) {
	everyKind(t, func(t *testing.T, l Limiter) {
		var out, most atomic.Int64
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() {
				for range 200 {
					p, ok := l.TryAcquire()
					if !ok {
						time.Sleep(time.Millisecond)
						continue
					}
					now := out.Add(1)
					for before := most.Load(); now > before && !most.CompareAndSwap(before, now); before = most.Load() {
					}
					time.Sleep(5 * time.Millisecond)
					out.Add(-1)
					p.Done(5 * time.Millisecond)
					_, _ = l.Limit(), l.InFlight()
					l.Pressure(0.5)
				}
			})
		}
		all.Wait()
		if l.InFlight() != 0 {
			t.Errorf("%d in flight at the end", l.InFlight())
		}
		if most.Load() < 16 {
			t.Errorf("at most %d were out at once, never 16", most.Load())
		}
	})
}

func TestOptions(t *testing.T) {
	if err := Defaults().Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for want, change := range map[string]func(*Options){
		"1 <= min":               func(o *Options) { o.Min = 0 },
		"min <= initial":         func(o *Options) { o.Min = o.Initial + 1 },
		"initial <= max":         func(o *Options) { o.Max = o.Initial - 1 },
		"0 < window":             func(o *Options) { o.Window = 0 },
		"window <= max window":   func(o *Options) { o.MaxWindow = o.Window - 1 },
		"min samples":            func(o *Options) { o.MinSamples = 1 },
		"smoothing":              func(o *Options) { o.Smoothing = 0 },
		"probe every must be ab": func(o *Options) { o.ProbeEvery = 0 },
	} {
		o := Defaults()
		change(&o)
		for name, err := range map[string]error{"vegas": second(NewVegas(o)), "failsafe": second(NewFailsafe(o))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v does not say %q", name, err, want)
			}
		}
	}
	if _, err := NewFixed(0); err == nil {
		t.Error("a fixed limit of 0 was accepted")
	}
}

func second[A, B any](_ A, b B) B { return b }
