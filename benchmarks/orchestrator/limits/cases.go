package main

import (
	"cmp"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/limit/limitsim"
)

// testcase is one server and its steps, one at the begin of each phase.
type testcase struct {
	name   string
	server limitsim.Server
	steps  []limitsim.Step
}

// phases are the names of the phases of every case.
var phases = []string{"start", "down", "up"}

func cases() []testcase {
	var all []testcase
	add := func(name string, servers int, slow float64, change func(*limitsim.Server)) {
		server := limitsim.Server{
			Servers: servers, Mean: 20 * time.Millisecond, Shape: limitsim.Exponential,
			Network: 4 * time.Millisecond, Queue: 1000,
		}
		change(&server)
		down := limitsim.Step{Servers: servers / 2, Slowdown: 1}
		if slow > 0 {
			down = limitsim.Step{Servers: servers, Slowdown: slow}
		}
		all = append(all, testcase{name, server, []limitsim.Step{{Servers: servers, Slowdown: 1}, down, {Servers: servers, Slowdown: 1}}})
	}
	for _, servers := range []int{4, 16, 64} {
		for _, shape := range []limitsim.Shape{limitsim.Constant, limitsim.Exponential, limitsim.HeavyTailed} {
			add(fmt.Sprintf("%d, %s", servers, shape), servers, 0, func(s *limitsim.Server) { s.Shape = shape })
		}
		add(fmt.Sprintf("%d, exponential, contention", servers), servers, 0, func(s *limitsim.Server) { s.Contention = 0.5 })
	}
	add("16, exponential, turns away beyond 48", 16, 0, func(s *limitsim.Server) { s.Queue = 32 })
	add("16, exponential, slower by 2", 16, 2, func(*limitsim.Server) {})
	add("64, exponential, slower by 3", 64, 3, func(*limitsim.Server) {})
	for _, shape := range []limitsim.Shape{limitsim.Exponential, limitsim.HeavyTailed} {
		add(fmt.Sprintf("16, %s, overhead only", shape), 16, 0, func(s *limitsim.Server) { s.Shape, s.Overhead = shape, true })
	}
	add("64, heavy-tailed, 500 ms, overhead only", 64, 0, func(s *limitsim.Server) {
		s.Shape, s.Overhead, s.Mean = limitsim.HeavyTailed, true, 500*time.Millisecond
	})
	return all
}

// contestant is one adaptive limiter.
type contestant struct {
	name string
	make func() (limit.Limiter, error)
}

func contestants(s settings, initial int) []contestant {
	options := limit.Defaults()
	options.Initial = initial
	theirs := options
	theirs.Window, theirs.MaxWindow, theirs.MinSamples = time.Second, 30*time.Second, 50
	all := []contestant{
		{"ours (Vegas)", func() (limit.Limiter, error) { return limit.NewVegas(options) }},
		{"failsafe-go", func() (limit.Limiter, error) { return limit.NewFailsafe(theirs) }},
		{"failsafe-go, our windows", func() (limit.Limiter, error) { return limit.NewFailsafe(options) }},
	}
	if s.ours {
		return all[:1]
	}
	return all
}

// outcome is one run's phase.
type outcome struct {
	settled time.Duration // negative: never
	goodput float64       // share of the best fixed limit's
	mean    float64       // multiple of its
	p99     float64
	limit   int
}

// result is what a case yielded.
type result struct {
	testcase
	best     []limitsim.Best // by phase
	outcomes [][][]outcome   // by contestant, phase, seed
}

func (c testcase) run(t *testing.T, s settings) result {
	r := result{testcase: c}
	scenario := limitsim.Scenario{Server: c.server, Length: s.phase * time.Duration(len(phases))}
	for i, step := range c.steps {
		step.At = s.phase * time.Duration(i)
		scenario.Steps = append(scenario.Steps, step)
		r.best = append(r.best, limitsim.FindBest(c.server, step, 1))
	}
	for _, contestant := range contestants(s, cmp.Or(s.initial, r.best[0].Limit)) {
		outcomes := make([][]outcome, len(phases))
		for seed := range s.seeds {
			scenario.Seed = uint64(seed + 1)
			var trace limitsim.Trace
			synctest.Test(t, func(t *testing.T) {
				limiter, err := contestant.make()
				if err != nil {
					t.Fatal(err)
				}
				trace = limitsim.Run(limiter, scenario, time.Sleep)
			})
			if s.trace {
				showLimits(c.name+", "+contestant.name, trace)
			}
			for i := range phases {
				outcomes[i] = append(outcomes[i], judge(trace, s.phase*time.Duration(i), s.phase*time.Duration(i+1), r.best[i]))
			}
		}
		r.outcomes = append(r.outcomes, outcomes)
	}
	return r
}

func judge(trace limitsim.Trace, from, to time.Duration, best limitsim.Best) outcome {
	settled, ok := trace.Settled(from, to, best)
	if !ok {
		settled = -1
	}
	f := trace.Between(from, to)
	return outcome{
		settled, f.Goodput / best.Goodput, float64(f.Mean) / float64(best.Mean), float64(f.P99) / float64(best.P99),
		trace.Limits[min(int(to/(100*time.Millisecond)), len(trace.Limits))-1],
	}
}

func showLimits(name string, trace limitsim.Trace) {
	fmt.Fprint(os.Stderr, name, ":")
	for i := 0; i < len(trace.Limits); i += 10 {
		fmt.Fprint(os.Stderr, " ", trace.Limits[i])
	}
	fmt.Fprintln(os.Stderr)
}
