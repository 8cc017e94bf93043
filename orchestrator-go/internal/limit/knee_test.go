package limit_test

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/limit/limitsim"
)

// simulate plays the scenario with our limiter.
func simulate(t *testing.T, initial int, s limitsim.Scenario) (trace limitsim.Trace) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := limit.Defaults()
		o.Initial = initial
		l, err := limit.NewVegas(o)
		if err != nil {
			t.Fatal(err)
		}
		trace = limitsim.Run(l, s, time.Sleep)
	})
	return trace
}

func server(servers int, shape limitsim.Shape) limitsim.Server {
	return limitsim.Server{
		Servers: servers, Mean: 20 * time.Millisecond, Shape: shape, Network: 4 * time.Millisecond, Queue: 1000,
	}
}

// knee is the fixed limit that keeps the servers busy and those busy that are on the way, and what it yields.
func knee(s limitsim.Server, step limitsim.Step) limitsim.Best {
	service := float64(s.Mean) * max(step.Slowdown, 1)
	n := math.Ceil(float64(step.Servers) * (1 + float64(s.Network)/service))
	return limitsim.Fixed(int(n), s, step, 1)
}

// The limit is good within ten simulated seconds after each step, in latencies whole and of overhead only.
func TestFollowsCapacity(t *testing.T) {
	const phase = 40 * time.Second
	for _, servers := range []int{4, 24} {
		for _, shape := range []limitsim.Shape{limitsim.Constant, limitsim.Exponential} {
			for _, overhead := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d %s overhead only %v", servers, shape, overhead), func(t *testing.T) {
					steps := []limitsim.Step{{Servers: servers}, {Servers: servers / 2}, {Servers: servers}, {Servers: servers, Slowdown: 2}}
					scenario := limitsim.Scenario{Server: server(servers, shape), Length: phase * 4, Seed: 7}
					scenario.Overhead = overhead
					for i, step := range steps {
						step.At = phase * time.Duration(i)
						scenario.Steps = append(scenario.Steps, step)
					}
					trace := simulate(t, 16, scenario)
					for i, step := range steps {
						best := knee(scenario.Server, step)
						after, ok := trace.Settled(phase*time.Duration(i), phase*time.Duration(i+1), best)
						if !ok || after > 10*time.Second {
							t.Errorf("step %d: good after %v (ever: %v); best fixed %+v, the phase %+v", i, after, ok, best,
								trace.Between(phase*time.Duration(i), phase*time.Duration(i+1)))
						}
					}
				})
			}
		}
	}
}

// A limit far above the knee looks healthy to a baseline that was measured there.
func TestFindsTheKneeFromFarAbove(t *testing.T) {
	s := limitsim.Scenario{Server: server(8, limitsim.Exponential), Length: 30 * time.Second, Seed: 3}
	trace := simulate(t, 200, s)
	best := knee(s.Server, limitsim.Step{Servers: 8})
	if after, ok := trace.Settled(0, s.Length, best); !ok || after > 10*time.Second {
		t.Errorf("good after %v (ever: %v); limits %v", after, ok, trace.Limits)
	}
}

// Load that needs no more than a few slots neither raises the limit nor lets it collapse.
func TestLightLoadLeavesTheLimitAlone(t *testing.T) {
	for _, shape := range []limitsim.Shape{limitsim.Constant, limitsim.Exponential, limitsim.HeavyTailed} {
		s := limitsim.Scenario{Server: server(64, shape), Rate: 50, Length: 3 * time.Minute, Seed: 5}
		for at, n := range simulate(t, 32, s).Limits {
			if n != 32 {
				t.Fatalf("%s: limit %d after %d tenths of a second, want 32 as at first", shape, n, at)
			}
		}
	}
}

// A step while nearly nothing runs is noticed when the load comes.
func TestPressureHelpsWhereLatencyCannot(t *testing.T) {
	// Tasks of half a minute: no latency comes in time.
	s := limitsim.Scenario{
		Server: limitsim.Server{Servers: 16, Mean: 30 * time.Second, Queue: 1000, Overhead: true},
		Length: 20 * time.Second, PressureEvery: time.Second,
	}
	trace := simulate(t, 128, s)
	if last := trace.Limits[len(trace.Limits)-1]; last > 24 {
		t.Errorf("limit %d after reports of pressure, want about the 16 that the backend carries", last)
	}
}
