package limitsim

import (
	"slices"
	"time"

	"dspyagent.io/orchestrator/internal/limit"
)

// Figures sum up a part of a run.
type Figures struct {
	Goodput   float64       // answers per second
	Mean, P99 time.Duration // of the answers' latencies
	Dropped   int
}

// Between are the figures of what ended from `from` on and before `to`.
func (t Trace) Between(from, to time.Duration) Figures {
	ends := t.Ends[t.index(from):t.index(to)]
	var f Figures
	var sum time.Duration
	latencies := make([]time.Duration, 0, len(ends))
	for _, e := range ends {
		if e.Dropped {
			f.Dropped++
			continue
		}
		sum += e.Latency
		latencies = append(latencies, e.Latency)
	}
	if len(latencies) == 0 {
		return f
	}
	slices.Sort(latencies)
	f.Goodput = float64(len(latencies)) / (to - from).Seconds()
	f.Mean, f.P99 = sum/time.Duration(len(latencies)), latencies[len(latencies)*99/100]
	return f
}

func (t Trace) index(at time.Duration) int {
	i, _ := slices.BinarySearchFunc(t.Ends, at, func(e End, at time.Duration) int { return int(e.At - at) })
	return i
}

// Best is the best fixed limit for a server, and what it yields.
type Best struct {
	Limit int
	Figures
}

// Enough and Tolerated say what counts as good: as much goodput as this share of the best fixed
// limit's, at a mean latency of at most this multiple of its.
const (
	Enough    = 0.9
	Tolerated = 1.5
)

// Good says whether the figures are within the tolerance of the best fixed limit's.
func (b Best) Good(f Figures) bool {
	return f.Goodput >= Enough*b.Goodput && float64(f.Mean) <= Tolerated*float64(b.Mean)
}

// bestShare: of all limits whose goodput is within this share of the highest, the smallest is the best.
const bestShare = 0.98

// services are how many a fixed limit's run lasts at least, so that chance does not pick the best.
const services = 10_000

// FindBest sweeps fixed limits on the server as the step leaves it.
func FindBest(server Server, step Step, seed uint64) Best {
	var tried []Best
	highest := 0.0
	// The network's share lifts the knee above the number of servers.
	most := int(3*float64(step.Servers)*(1+float64(server.Network)/float64(server.Mean))) + 4
	for n := 1; n <= most; n += max(1, n/25) {
		b := Fixed(n, server, step, seed)
		tried, highest = append(tried, b), max(highest, b.Goodput)
	}
	return tried[slices.IndexFunc(tried, func(b Best) bool { return b.Goodput >= bestShare*highest })]
}

// Fixed is what a fixed limit yields on the server as the step leaves it.
func Fixed(n int, server Server, step Step, seed uint64) Best {
	fixed, err := limit.NewFixed(n)
	if err != nil {
		panic(err)
	}
	const warm = 5 * time.Second
	length := warm + max(20*time.Second, services*server.Mean/time.Duration(step.Servers))
	now := Step{Servers: step.Servers, Slowdown: step.Slowdown}
	trace := Run(fixed, Scenario{Server: server, Steps: []Step{now}, Length: length, Seed: seed}, nil)
	return Best{n, trace.Between(warm, length)}
}

// settleWindow is how long a limiter has to be good for a start.
const settleWindow = 2 * time.Second

// Settled is how long after `from` the limiter became good: for the settleWindow that begins
// then, and for all the time from then to `to`. It reports false if that never came.
func (t Trace) Settled(from, to time.Duration, best Best) (time.Duration, bool) {
	const stride = 100 * time.Millisecond
	for at := from; at+settleWindow <= to; at += stride {
		if best.Good(t.Between(at, at+settleWindow)) && best.Good(t.Between(at, to)) {
			return at - from, true
		}
	}
	return 0, false
}
