package limit

import (
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

func vegas(t *testing.T, change func(*Options)) *Vegas {
	t.Helper()
	o := Defaults()
	change(&o)
	return made(t, func() (*Vegas, error) { return NewVegas(o) })
}

// fill takes all slots.
func fill(l Limiter) (permits []Permit) {
	for p, ok := l.TryAcquire(); ok; p, ok = l.TryAcquire() {
		permits = append(permits, p)
	}
	return permits
}

// serve keeps the limiter full for so long; every attempt takes `each`, and ends as end says.
func serve(l Limiter, length, each time.Duration, end func(Permit)) {
	for begun := time.Now(); time.Since(begun) < length; {
		permits := fill(l)
		time.Sleep(each)
		for _, p := range permits {
			end(p)
		}
	}
}

func TestGrowsWhileNothingWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		signals, refused := 0, 0
		var l *Vegas
		l = vegas(t, func(o *Options) {
			o.Initial, o.Max = 4, 40
			o.OnGrow = func() {
				signals++
				if _, ok := l.TryAcquire(); !ok { // also shows that no lock is held
					refused++
				} else {
					l.inFlight--
				}
			}
		})
		serve(l, 30*time.Second, 10*time.Millisecond, func(p Permit) { p.Done(10 * time.Millisecond) })
		if l.Limit() != 40 {
			t.Errorf("limit %d, want the most, 40", l.Limit())
		}
		if signals == 0 || refused > 0 {
			t.Errorf("%d signals of growth, of which %d came when no slot was free", signals, refused)
		}
	})
}

// A backend that becomes slower without carrying less must not look overloaded for good.
func TestBaselineFollowsASlowerBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(o *Options) { o.Max = 32 })
		took := 10 * time.Millisecond
		done := func(p Permit) { p.Done(took) }
		serve(l, 20*time.Second, took, done)
		if got := l.Baseline(); got != took {
			t.Fatalf("baseline %v, want %v", got, took)
		}
		took = 50 * time.Millisecond
		serve(l, 20*time.Second, took, done)
		if got := l.Baseline(); got < 40*time.Millisecond || l.Limit() < 22 {
			t.Errorf("baseline %v at limit %d, want about %v at 32 or a dip below it", got, l.Limit(), took)
		}
	})
}

func TestDropsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(o *Options) { o.Initial, o.Min = 100, 3 })
		serve(l, time.Second, 10*time.Millisecond, Permit.Dropped)
		if l.Limit() > 50 {
			t.Errorf("limit %d after a second of drops only", l.Limit())
		}
		serve(l, time.Minute, 10*time.Millisecond, Permit.Dropped)
		if l.Limit() != 3 {
			t.Errorf("limit %d after a minute of drops only, want the least, 3", l.Limit())
		}
	})
}

func TestIgnoredSaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(*Options) {})
		serve(l, time.Minute, 10*time.Millisecond, Permit.Ignore)
		if l.Limit() != 16 {
			t.Errorf("limit %d, want 16 as at first", l.Limit())
		}
	})
}

func TestPressure(t *testing.T) {
	for name, c := range map[string]struct {
		pressure    float64
		least, most int
	}{
		"none is known":    {-1, 200, 1024},
		"not a number":     {math.NaN(), 200, 1024},
		"infinite":         {math.Inf(1), 150, 1024},
		"room":             {0.5, 200, 1024},
		"saturated":        {1, 81, 90}, // two steps down, or one
		"full":             {0.95, 100, 100},
		"twice overloaded": {2, 40, 51},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := vegas(t, func(o *Options) { o.Initial, o.ProbeEvery = 100, time.Hour })
				l.nextDip = time.Now().Add(time.Hour)
				permits := fill(l)
				l.Pressure(c.pressure)
				for _, p := range permits {
					p.Ignore()
				}
				for range 20 {
					serve(l, time.Second, 10*time.Millisecond, func(p Permit) { p.Done(10 * time.Millisecond) })
					l.Pressure(min(c.pressure, 1))
				}
				if l.Limit() < c.least || l.Limit() > c.most {
					t.Errorf("limit %d, want %d to %d", l.Limit(), c.least, c.most)
				}
			})
		})
	}
}

func TestOldPressureIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(*Options) {})
		l.Pressure(1)
		serve(l, 20*time.Second, 10*time.Millisecond, func(p Permit) { p.Done(10 * time.Millisecond) })
		if l.Limit() < 64 {
			t.Errorf("limit %d: a report of 20 seconds ago still holds it", l.Limit())
		}
	})
}

// Whatever comes, the limit stays within its bounds and no permit is lost.
func TestAnyOrderOfEvents(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			l := vegas(t, func(o *Options) { o.Min, o.Initial, o.Max, o.MinSamples = 2, 10, 60, 2 })
			var out []Permit
			for range 5000 {
				switch random.IntN(13) {
				case 12:
					l.Capacity(random.IntN(100))
				case 0:
					time.Sleep(time.Duration(random.ExpFloat64() * float64(100*time.Millisecond)))
				case 1:
					l.Pressure(3*random.Float64() - 0.5)
				case 2, 3, 4, 5, 6:
					p, ok := l.TryAcquire()
					if ok != (len(out) < l.Limit()) {
						t.Fatalf("seed %d: a permit: %v with %d out of %d", seed, ok, len(out), l.Limit())
					}
					if ok {
						out = append(out, p)
					}
				default:
					if len(out) == 0 {
						continue
					}
					i := random.IntN(len(out))
					switch random.IntN(20) {
					case 0:
						out[i].Dropped()
					case 1:
						out[i].Ignore()
					default:
						out[i].Done(time.Duration(random.NormFloat64() * float64(time.Second)))
					}
					out = append(out[:i], out[i+1:]...)
				}
				if n := l.Limit(); n < 2 || n > 60 || l.InFlight() != len(out) {
					t.Fatalf("seed %d: limit %d, %d in flight, %d out", seed, n, l.InFlight(), len(out))
				}
			}
		})
	}
}

func TestWindowKeepsAFewLatencies(t *testing.T) {
	var w window
	begun := time.Now()
	w.restart(begun)
	for i := range 100_000 {
		w.add(time.Duration(i)*time.Microsecond, 0)
	}
	s := w.summarize(begun.Add(time.Second))
	if len(w.latencies) > keptLatencies || w.ends != 100_000 {
		t.Errorf("%d latencies kept of %d", len(w.latencies), w.ends)
	}
	if math.Abs(s.latency-0.05) > 0.001 || s.rate != 100_000 {
		t.Errorf("median %v at %v a second, want 50 ms at 100000", s.latency, s.rate)
	}
}

// The windows of slow tasks last longer than the time between dips, of which there is none to make at the lowest limit.
func TestTheLowestLimitIsLeftAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(o *Options) { o.Initial = 1 })
		for range 200 {
			permits := fill(l)
			time.Sleep(5 * time.Second)
			for _, p := range permits {
				p.Done(time.Millisecond)
			}
		}
		if l.Limit() < 8 {
			t.Errorf("the limit is %d after 200 rounds without waiting", l.Limit())
		}
	})
}
