package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"

	"dspyagent.io/orchestrator/internal/limit/limitsim"
)

func printTables(out io.Writer, s settings, results []result) {
	fmt.Fprintf(out, "%d seeds of %v of simulated time each; median (range). An endless backlog; limits from 1 to 1024, at first 16. "+
		"A limiter is good from when on it has at least %.0f %% of the best fixed limit's goodput at at most %.1f times its mean latency, "+
		"for two seconds and for the rest of the phase. Goodput and latencies are of whole phases, the search included, "+
		"as multiples of the best fixed limit's.\n\n",
		s.seeds, s.phase*3, 100*limitsim.Enough, limitsim.Tolerated)
	fmt.Fprintln(out, "| server | phase | best fixed: limit | goodput/s | mean, p99 ms | limiter | seconds until good | goodput | mean latency | p99 | limit at the end |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range results {
		for i, phase := range phases {
			best := r.best[i]
			for j, c := range contestants(s, 1) {
				all := r.outcomes[j][i]
				fmt.Fprintf(out, "| %s | %s | %d | %.0f | %.0f, %.0f | %s | %s | %s | %s | %s | %s |\n", r.name, phase,
					best.Limit, best.Goodput, best.Mean.Seconds()*1000, best.P99.Seconds()*1000, c.name, settling(all),
					summary(all, "%.2f", func(o outcome) float64 { return o.goodput }),
					summary(all, "%.2f", func(o outcome) float64 { return o.mean }),
					summary(all, "%.2f", func(o outcome) float64 { return o.p99 }),
					summary(all, "%.0f", func(o outcome) float64 { return float64(o.limit) }))
			}
		}
	}
	fmt.Fprintln(out)
	for j, c := range contestants(s, 1) {
		for i, phase := range phases {
			var all []outcome
			for _, r := range results {
				all = append(all, r.outcomes[j][i]...)
			}
			within := 0
			for _, o := range all {
				if o.settled >= 0 && o.settled.Seconds() <= 10 {
					within++
				}
			}
			fmt.Fprintf(out, "- %s, step %s: good within 10 s in %d of %d runs (%d %%); seconds until good %s\n",
				c.name, phase, within, len(all), 100*within/len(all), settling(all))
		}
	}
}

// settling is the median and the range of the seconds until good.
func settling(all []outcome) string {
	values := make([]float64, len(all))
	for i, o := range all {
		values[i] = o.settled.Seconds()
		if o.settled < 0 {
			values[i] = math.Inf(1)
		}
	}
	slices.SortFunc(values, cmp.Compare)
	text := func(v float64) string {
		if math.IsInf(v, 1) {
			return "never"
		}
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%s (%s–%s)", text(values[len(values)/2]), text(values[0]), text(values[len(values)-1]))
}

// summary is the median and the range.
func summary(all []outcome, format string, of func(outcome) float64) string {
	values := make([]float64, len(all))
	for i, o := range all {
		values[i] = of(o)
	}
	slices.Sort(values)
	return fmt.Sprintf(format+" ("+format+"–"+format+")", values[len(values)/2], values[0], values[len(values)-1])
}
