package limit

import (
	"math"
	"slices"
	"time"
)

// keptLatencies bounds a window's memory; beyond it every second latency is forgotten, and
// only every second, fourth and so on is kept from then on.
const keptLatencies = 1024

// window sums up what happened between two decisions.
type window struct {
	begun, last time.Time
	area        float64 // attempts in flight, integrated over time: attempt-seconds
	full        time.Duration
	ends, drops int
	latencies   []float64 // seconds
	stride      int       // every stride-th is kept
	held        float64   // seconds that the ended permits were out, summed up
	nextLook    int       // the number of ends at which complete sorts again
}

func (w *window) restart(now time.Time) {
	*w = window{begun: now, last: now, stride: 1, latencies: w.latencies[:0]}
}

// pass accounts for the time since the last event, in which so many attempts were in flight.
func (w *window) pass(now time.Time, inFlight int, full bool) {
	elapsed := now.Sub(w.last)
	w.last = now
	w.area += float64(inFlight) * elapsed.Seconds()
	if full {
		w.full += elapsed
	}
}

func (w *window) add(latency, held time.Duration) {
	if w.ends%w.stride == 0 {
		if len(w.latencies) == keptLatencies {
			for i := range keptLatencies / 2 {
				w.latencies[i] = w.latencies[2*i]
			}
			w.latencies = w.latencies[:keptLatencies/2]
			w.stride *= 2
		}
		w.latencies = append(w.latencies, latency.Seconds())
	}
	w.ends++
	w.held += held.Seconds()
}

// summary is a window's outcome.
type summary struct {
	inFlight float64 // mean
	rate     float64 // answers per second
	latency  float64 // median, seconds
	err      float64 // standard error of latency, seconds
	held     float64 // mean time that a permit was out, seconds
	full     bool    // the limit was what held attempts back, most of the time
}

// summarize sorts the latencies. There must be some, and time must have passed.
func (w *window) summarize(now time.Time) summary {
	slices.Sort(w.latencies)
	n := len(w.latencies)
	seconds := now.Sub(w.begun).Seconds()
	// Of a normal distribution, the quartiles are 1.35 standard deviations apart, and a median's
	// standard error is 1.25 times the mean's.
	spread := (w.latencies[n*3/4] - w.latencies[n/4]) / 1.35
	return summary{
		inFlight: w.area / seconds,
		rate:     float64(w.ends) / seconds,
		latency:  (w.latencies[n/2] + w.latencies[(n-1)/2]) / 2,
		err:      1.25 * spread / math.Sqrt(float64(n)),
		held:     w.held / float64(w.ends),
		full:     2*w.full >= now.Sub(w.begun),
	}
}
