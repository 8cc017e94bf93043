package limit

import (
	"testing"
	"testing/synctest"
	"time"
)

// report reports once a second for so long.
func report(l Limiter, length time.Duration, pressure float64) {
	for begun := time.Now(); time.Since(begun) < length; time.Sleep(time.Second) {
		l.Pressure(pressure)
		l.Capacity(400)
	}
}

// Commands of an hour end too seldom to tell anything: from 16 on, the limit took hours to become 400.
func TestTheCapacityIsTheFirstLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grew := 0
		l := vegas(t, func(o *Options) { o.OnGrow = func() { grew++ } })
		for _, c := range []struct{ capacity, want int }{{0, 16}, {-1, 16}, {400, 400}, {100, 100}, {4, 16}, {2000, 1024}} {
			if l.Capacity(c.capacity); l.Limit() != c.want {
				t.Errorf("limit %d at a capacity of %d, want %d", l.Limit(), c.capacity, c.want)
			}
		}
		if grew != 2 {
			t.Errorf("%d signals of growth, want 2", grew)
		}
	})
}

func TestALimitThatWasFoundFollowsTheCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(*Options) {})
		l.Capacity(100)
		l.Pressure(2) // nothing is in flight: down to what is to wait
		found := l.Limit()
		for _, c := range []struct{ capacity, want int }{{200, 2 * found}, {100, found}, {1000, 10 * found}, {100, found}} {
			if l.Capacity(c.capacity); l.Limit() < c.want-1 || l.Limit() > c.want+1 {
				t.Errorf("limit %d at a capacity of %d, want %d", l.Limit(), c.capacity, c.want)
			}
		}
	})
}

// The kernel's averages go no further than 1, so only their lasting tells how much is too much.
func TestLastingPressureShrinksTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(*Options) {})
		l.Capacity(400)
		permits := fill(l)
		report(l, 2*time.Minute, 0.97)
		if l.Limit() != 360 {
			t.Errorf("limit %d, want one step down before what is in flight has followed", l.Limit())
		}
		for range 10 {
			for _, p := range permits {
				p.Ignore()
			}
			permits = fill(l)
			report(l, 11*time.Second, 0.97)
		}
		if l.Limit() > 150 {
			t.Errorf("limit %d after ten more steps", l.Limit())
		}
		before := l.Limit()
		report(l, time.Minute, 0.8)
		if l.Limit() != before {
			t.Errorf("limit %d, %d before a minute of being well used", l.Limit(), before)
		}
		for range 40 { // no attempt ends, so nothing else tells that there is room
			permits = append(permits, fill(l)...)
			report(l, 11*time.Second, 0.3)
		}
		if l.Limit() != 400 {
			t.Errorf("limit %d, want the capacity again", l.Limit())
		}
	})
}

func TestShortPressureChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := vegas(t, func(*Options) {})
		l.Capacity(400)
		fill(l)
		for range 20 {
			report(l, 9*time.Second, 1)
			report(l, time.Second, 0.9)
		}
		if l.Limit() != 400 {
			t.Errorf("limit %d, want 400", l.Limit())
		}
	})
}

// The first limit, which had nothing to do with the capacity, was taken for one that had been found, and multiplied.
func TestALimitThatWasNeverReachedFollowsTheCapacityAlone(t *testing.T) {
	for name, use := range map[string]func(Limiter){
		"light load": func(l Limiter) {
			for range 200 {
				p, _ := l.TryAcquire()
				time.Sleep(100 * time.Millisecond)
				p.Done(100 * time.Millisecond)
			}
		},
		"pressure that lowers nothing": func(l Limiter) { fill(l); l.Pressure(1.06) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := vegas(t, func(*Options) {})
				l.Capacity(4)
				use(l)
				if l.Capacity(40); l.Limit() != 40 {
					t.Errorf("limit %d at a capacity of 40", l.Limit())
				}
				if l.Capacity(4); name == "light load" && l.Limit() != 16 {
					t.Errorf("limit %d at a capacity of 4, want the first one", l.Limit())
				}
			})
		})
	}
}
