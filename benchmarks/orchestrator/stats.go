package main

import (
	"fmt"
	"slices"
	"time"
)

// measurement is one round of one side; zero is "does not do this".
type measurement struct {
	noopRate, commandRate  float64    // tasks per second, from the first sending to the last end
	cpu                    [3]float64 // of orchestrator, store and runner: µs per no-op of those sent at once
	begunP50, begunP99     float64    // ms from a task's acknowledgement to its begin, below the limit
	endedP50, endedP99     float64    // ms from its sending to its end
	commandP50, commandP99 float64    // the same of commands sent all at once: the wait in the queue included
	errors                 int
}

func (m *measurement) pacedBy(all []times) {
	begun, ended := since(all, acknowledgedAt, startedAt), since(all, sentAt, finishedAt)
	m.begunP50, m.begunP99 = begun.p50(), begun.p99()
	m.endedP50, m.endedP99 = ended.p50(), ended.p99()
}

// times are the moments of a task.
type times [4]time.Time

// The moments, by the clock of this machine, which all programs share.
const (
	sentAt = iota
	acknowledgedAt
	startedAt
	finishedAt
)

// rate is tasks per second, from the first sending to the last end.
func rate(all []times) float64 {
	first, last := all[0][sentAt], all[0][finishedAt]
	for _, t := range all {
		if t[sentAt].Before(first) {
			first = t[sentAt]
		}
		if t[finishedAt].After(last) {
			last = t[finishedAt]
		}
	}
	return float64(len(all)) / last.Sub(first).Seconds()
}

// sample is durations in milliseconds.
type sample []float64

// since is the time between two moments of each task; none where the second one came first.
func since(all []times, from, to int) sample {
	out := make(sample, len(all))
	for i, t := range all {
		out[i] = max(0, milliseconds(t[to].Sub(t[from])))
	}
	return out
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (s sample) at(percent int) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[min(len(sorted)*percent/100, len(sorted)-1)]
}

func (s sample) p50() float64 { return s.at(50) }
func (s sample) p99() float64 { return s.at(99) }
func (s sample) max() float64 { return s.at(100) }

// summary is the median and the range.
func summary(all []measurement, format string, of func(measurement) float64) string {
	values := make(sample, len(all))
	for i, m := range all {
		values[i] = of(m)
	}
	if values.max() == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", values.p50(), values.at(0), values.max())
}
