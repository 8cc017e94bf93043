package main

import (
	"context"
	"fmt"
	"time"
)

// side is one side of the comparison, freshly started for every round.
type side struct {
	name   string
	parts  []string // that it does
	round  func(ctx context.Context, s settings) (measurement, error)
	rounds []measurement
}

func sides() []*side {
	queue := []string{throughput, dispatch}
	return []*side{
		{name: "orchestrator, reddb (fsync), env-runner", parts: append(queue, commands), round: oursRound("reddb", true)},
		{name: "orchestrator, redis (appendfsync always), env-runner", parts: queue, round: oursRound("redis", false)},
		{name: "asynq, redis (appendfsync always), handler in process", parts: queue, round: asynqRound(0)},
		{name: "the same, looking for tasks every 5 ms rather than 1 s", parts: queue, round: asynqRound(5 * time.Millisecond)},
	}
}

// column is a column of a table over the sides.
type column struct {
	head, format string
	of           func(measurement) float64
}

func printSides(s settings, sides []*side) {
	if s.does(throughput) {
		printTable(fmt.Sprintf("%d no-ops sent at once, durable; processor time per task, both cores together", s.tasks), sides, []column{
			{"tasks/s", "%.0f", func(m measurement) float64 { return m.noopRate }},
			{"µs of orchestrator, or asynq with its client", "%.0f", func(m measurement) float64 { return m.cpu[0] }},
			{"of store", "%.0f", func(m measurement) float64 { return m.cpu[1] }},
			{"of runner", "%.0f", func(m measurement) float64 { return m.cpu[2] }},
		})
	}
	if s.does(dispatch) {
		printTable(fmt.Sprintf("%d no-ops a second for %v, sent one by one", s.rate, s.paced), sides, []column{
			{"acknowledged → begun, p50", "%.1f ms", func(m measurement) float64 { return m.begunP50 }},
			{"p99", "%.1f ms", func(m measurement) float64 { return m.begunP99 }},
			{"sent → ended, p50", "%.1f ms", func(m measurement) float64 { return m.endedP50 }},
			{"p99", "%.1f ms", func(m measurement) float64 { return m.endedP99 }},
		})
	}
	if s.does(commands) {
		printTable(fmt.Sprintf("%d × `/bin/true` sent at once", s.commands), sides[:min(1, len(sides))], []column{
			{"tasks/s", "%.0f", func(m measurement) float64 { return m.commandRate }},
			{"sent → ended, p50", "%.0f ms", func(m measurement) float64 { return m.commandP50 }},
			{"p99", "%.0f ms", func(m measurement) float64 { return m.commandP99 }},
		})
	}
}

func printTable(title string, sides []*side, columns []column) {
	if len(sides) == 0 {
		return
	}
	head, line := "| side | errors |", "|---|---|"
	for _, c := range columns {
		head, line = head+" "+c.head+" |", line+"---|"
	}
	fmt.Printf("\n%s:\n\n%s\n%s\n", title, head, line)
	for _, side := range sides {
		failures := 0
		for _, m := range side.rounds {
			failures += m.errors
		}
		fmt.Printf("| %s | %d |", side.name, failures)
		for _, c := range columns {
			fmt.Printf(" %s |", summary(side.rounds, c.format, c.of))
		}
		fmt.Println()
	}
}

func printShares(s settings, f shares) {
	if !s.does(fairness) {
		return
	}
	fmt.Printf("\nA tenant's %g commands of %g s a second, alone and beside a tenant with %g a second, on %d places; "+
		"of all rounds together, milliseconds from sending to end:\n\n", smallRate, workSeconds, largeRate, places)
	fmt.Printf("| small tenant | errors | tasks | p50 | p99 |\n|---|---|---|---|---|\n")
	fmt.Printf("| alone | %d | %d | %.0f | %.0f |\n", f.errors, len(f.alone), f.alone.p50(), f.alone.p99())
	fmt.Printf("| beside the large one, of which up to %.0f wait | %d | %d | %.0f | %.0f |\n", f.backlog.max(), f.errors, len(f.beside), f.beside.p50(), f.beside.p99())
	fmt.Printf("| ratio | | | %.2f | %.2f |\n", f.beside.p50()/f.alone.p50(), f.beside.p99()/f.alone.p99())
}

func printRecoveries(s settings, ours, theirs recoveries) {
	if !s.does(recovery) {
		return
	}
	fmt.Printf("\n%d tasks run when the process that leads or works is killed with SIGKILL, a second one standing by; "+
		"seconds until their next attempts begin:\n\n", longTasks)
	fmt.Printf("| side | not begun again | kills | median | max |\n|---|---|---|---|---|\n")
	fmt.Printf("| orchestrator, as the command itself says | %d | %d | %.2f | %.2f |\n",
		ours.missed, ours.kills, ours.took.p50()/1000, ours.took.max()/1000)
	if theirs.kills > 0 {
		fmt.Printf("| asynq with its defaults, within %v | %d | %d | %.1f | %.1f |\n",
			s.asynqPatience, theirs.missed, theirs.kills, theirs.took.p50()/1000, theirs.took.max()/1000)
	} else {
		fmt.Println("| asynq, not measured: a lease of 30 s, 30 s of grace, a look once a minute, 15 s and more before the retry | – | 0 | – | – |")
	}
}
