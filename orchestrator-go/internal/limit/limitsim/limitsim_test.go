package limitsim

import (
	"math"
	"slices"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/limit"
)

func fixed(t *testing.T, n int) limit.Limiter {
	t.Helper()
	l, err := limit.NewFixed(n)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func simple() Scenario {
	return Scenario{
		Server: Server{Servers: 8, Mean: 20 * time.Millisecond, Shape: Exponential, Network: 4 * time.Millisecond, Queue: 1000},
		Length: time.Minute, Seed: 1,
	}
}

func TestSameSeedSameRun(t *testing.T) {
	s := simple()
	first, again := Run(fixed(t, 10), s, nil), Run(fixed(t, 10), s, nil)
	s.Seed = 2
	other := Run(fixed(t, 10), s, nil)
	if !slices.Equal(first.Ends, again.Ends) {
		t.Error("two runs of one seed differ")
	}
	if slices.Equal(first.Ends, other.Ends) {
		t.Error("runs of two seeds are the same")
	}
}

// With an endless backlog, goodput times mean latency is the limit: Little's law.
func TestLittlesLaw(t *testing.T) {
	for _, shape := range []Shape{Constant, Exponential, HeavyTailed} {
		for _, n := range []int{1, 8, 40} {
			s := simple()
			s.Shape = shape
			f := Run(fixed(t, n), s, nil).Between(10*time.Second, s.Length)
			if product := f.Goodput * f.Mean.Seconds(); math.Abs(product-float64(n)) > 0.02*float64(n) {
				t.Errorf("%s at limit %d: goodput %v times mean %v is %v", shape, n, f.Goodput, f.Mean, product)
			}
		}
	}
}

func TestShapesHaveTheirMean(t *testing.T) {
	for _, shape := range []Shape{Constant, Exponential, HeavyTailed} {
		s := simple()
		s.Shape, s.Length = shape, 5*time.Minute
		got := Run(fixed(t, 40), s, nil).Between(10*time.Second, s.Length).Goodput
		if math.Abs(got-400) > 12 {
			t.Errorf("%s: %v answers a second of 8 servers of 20 ms, want 400", shape, got)
		}
	}
}

func TestStepsChangeTheCapacity(t *testing.T) {
	s := simple()
	s.Steps = []Step{{At: 20 * time.Second, Servers: 4}, {At: 40 * time.Second, Servers: 8, Slowdown: 4}}
	trace := Run(fixed(t, 40), s, nil)
	for i, want := range []float64{400, 200, 100} {
		from := time.Duration(i) * 20 * time.Second
		if got := trace.Between(from+2*time.Second, from+20*time.Second).Goodput; math.Abs(got-want) > 0.1*want {
			t.Errorf("phase %d: %v answers a second, want about %v", i, got, want)
		}
	}
}

func TestFullQueueDrops(t *testing.T) {
	s := simple()
	s.Queue = 4
	if f := Run(fixed(t, 12), s, nil).Between(0, s.Length); f.Dropped != 0 {
		t.Errorf("%d dropped though all have room", f.Dropped)
	}
	if f := Run(fixed(t, 40), s, nil).Between(0, s.Length); f.Dropped == 0 {
		t.Error("none dropped of 40 at once where 12 have room")
	}
}

func TestContentionLowersGoodputPastTheKnee(t *testing.T) {
	s := simple()
	s.Contention = 0.5
	knee := Run(fixed(t, 10), s, nil).Between(0, s.Length).Goodput
	past := Run(fixed(t, 40), s, nil).Between(0, s.Length).Goodput
	if past > 0.6*knee {
		t.Errorf("%v answers a second at limit 40, %v at the knee", past, knee)
	}
}

func TestOverheadLeavesTheServiceOut(t *testing.T) {
	s := simple()
	s.Overhead, s.Length = true, time.Second
	told := &listener{Limiter: fixed(t, 1)}
	Run(told, s, nil)
	if len(told.latencies) == 0 || slices.Max(told.latencies) > 6*time.Millisecond {
		t.Errorf("latencies %v, want the network's only", told.latencies)
	}
}

func TestRateIsWhatArrives(t *testing.T) {
	s := simple()
	s.Rate, s.Length = 100, 5*time.Minute
	if got := Run(fixed(t, 40), s, nil).Between(0, s.Length).Goodput; math.Abs(got-100) > 3 {
		t.Errorf("%v answers a second, want the rate of 100", got)
	}
}

func TestBestIsTheKnee(t *testing.T) {
	server := simple().Server
	server.Shape = Constant
	if best := FindBest(server, Step{Servers: 8}, 1); best.Limit < 9 || best.Limit > 10 || best.Goodput < 390 {
		t.Errorf("best fixed limit %+v, want 8 servers and the share on the way, 9.6", best)
	}
}

func TestSettled(t *testing.T) {
	var trace Trace
	for at := 10 * time.Millisecond; at < 20*time.Second; at += 10 * time.Millisecond {
		latency := 50 * time.Millisecond
		if at > 5*time.Second && at < 8*time.Second {
			latency = time.Second
		}
		trace.Ends = append(trace.Ends, End{At: at, Latency: latency})
	}
	best := Best{5, Figures{Goodput: 100, Mean: 50 * time.Millisecond}}
	if after, ok := trace.Settled(5*time.Second, 20*time.Second, best); !ok || after < 2800*time.Millisecond || after > 3*time.Second {
		t.Errorf("good after %v (%v), want 3 s", after, ok)
	}
	best.Goodput = 200
	if after, ok := trace.Settled(5*time.Second, 20*time.Second, best); ok {
		t.Errorf("good after %v with half of the goodput", after)
	}
}

// listener keeps the latencies that the limiter is told.
type listener struct {
	limit.Limiter
	latencies []time.Duration
}

func (l *listener) TryAcquire() (limit.Permit, bool) {
	p, ok := l.Limiter.TryAcquire()
	return heard{p, l}, ok
}

type heard struct {
	limit.Permit
	listener *listener
}

func (h heard) Done(latency time.Duration) {
	h.listener.latencies = append(h.listener.latencies, latency)
	h.Permit.Done(latency)
}
