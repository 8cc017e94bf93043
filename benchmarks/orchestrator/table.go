package main

import (
	"fmt"
	"slices"
	"time"
)

// measurement is one round of one side; zero is "does not do this".
type measurement struct {
	noopRate, commandRate  float64       // tasks per second, from the first creation to the last end
	pacedP50, pacedP99     time.Duration // from creation to end, below the limit
	commandP50, commandP99 time.Duration // of commands sent all at once: the wait in the queue included
	errors                 int
}

// times are the two ends of a task.
type times struct{ created, finished time.Time }

func rate(all []times) float64 {
	first, last := all[0].created, all[0].finished
	for _, t := range all {
		if t.created.Before(first) {
			first = t.created
		}
		if t.finished.After(last) {
			last = t.finished
		}
	}
	return float64(len(all)) / last.Sub(first).Seconds()
}

func percentiles(all []times) (p50, p99 time.Duration) {
	took := make([]time.Duration, len(all))
	for i, t := range all {
		took[i] = t.finished.Sub(t.created)
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}

func printTable(s settings, contestants []contestant, results [][]measurement) {
	fmt.Printf("| side | errors | %d no-ops at once, tasks/s | %d no-ops/s: p50 | p99 | %d × /bin/true at once, tasks/s | p50 | p99 |\n",
		s.tasks, s.rate, s.commands)
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for i, c := range contestants {
		all, failures := results[i], 0
		for _, m := range all {
			failures += m.errors
		}
		fmt.Printf("| %s | %d | %s | %s | %s | %s | %s | %s |\n", c.name, failures,
			summary(all, "%.0f", func(m measurement) float64 { return m.noopRate }),
			summary(all, "%.1f ms", func(m measurement) float64 { return milliseconds(m.pacedP50) }),
			summary(all, "%.1f ms", func(m measurement) float64 { return milliseconds(m.pacedP99) }),
			summary(all, "%.0f", func(m measurement) float64 { return m.commandRate }),
			summary(all, "%.0f ms", func(m measurement) float64 { return milliseconds(m.commandP50) }),
			summary(all, "%.0f ms", func(m measurement) float64 { return milliseconds(m.commandP99) }))
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// summary is the median and the range.
func summary(all []measurement, format string, of func(measurement) float64) string {
	values := make([]float64, len(all))
	for i, m := range all {
		values[i] = of(m)
	}
	slices.Sort(values)
	if values[len(values)-1] == 0 {
		return "–"
	}
	return fmt.Sprintf(format+" ("+format+"–"+format+")", values[len(values)/2], values[0], values[len(values)-1])
}
