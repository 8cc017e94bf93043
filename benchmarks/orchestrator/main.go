// Measures the orchestrator with its real store and a real env runner, beside asynq with Redis on the same machine in
// the same run, and prints tables in Markdown.
//
//	go run . [--rounds 5] [--only throughput,dispatch,commands,fairness,recovery]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	orchestrator, reddb, runner, redis string
	parts                              []string
	side                               string
	tasks, commands, rounds            int
	rate, kills                        int
	paced                              time.Duration
	pprof                              string
	asynqPatience                      time.Duration
}

// The parts of a round.
const (
	throughput = "throughput"
	dispatch   = "dispatch"
	commands   = "commands"
	fairness   = "fairness"
	recovery   = "recovery"
)

var allParts = []string{throughput, dispatch, commands, fairness, recovery}

func (s settings) does(part string) bool { return slices.Contains(s.parts, part) }

func main() {
	if len(os.Args) == 3 && os.Args[1] == sleeperCommand {
		if err := sleeper(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "asynq's worker:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func parse() settings {
	var s settings
	var only string
	flag.StringVar(&s.orchestrator, "orchestrator-bin", "../../dist/bin/orchestrator", "program to measure")
	flag.StringVar(&s.reddb, "reddb-bin", "../../dist/bin/reddb", "its store")
	flag.StringVar(&s.runner, "env-runner-bin", "../../dist/bin/env-runner", "its runner")
	flag.StringVar(&s.redis, "redis-bin", "redis-server", "asynq's store, and the orchestrator's second one")
	flag.StringVar(&only, "only", strings.Join(allParts, ","), "parts to run")
	flag.StringVar(&s.side, "side", "", "part of the names of the sides to run; empty: all")
	flag.IntVar(&s.tasks, "tasks", 20_000, "no-op tasks sent at once")
	flag.IntVar(&s.commands, "commands", 2_000, "/bin/true tasks sent at once")
	flag.IntVar(&s.rounds, "rounds", 5, "runs of each side, interleaved")
	flag.IntVar(&s.rate, "rate", 500, "no-op tasks per second of the paced part, sent one by one")
	flag.DurationVar(&s.paced, "paced", 4*time.Second, "duration of the paced part")
	flag.IntVar(&s.kills, "kills", 2, "leaders killed in each round")
	flag.DurationVar(&s.asynqPatience, "asynq-patience", 3*time.Minute, "for asynq to recover from one kill; 0 leaves that out")
	flag.StringVar(&s.pprof, "pprof", "", "address for the orchestrator's profiles while it is measured")
	flag.Parse()
	s.parts = strings.Split(only, ",")
	return s
}

func (s settings) check() error {
	if s.tasks < 1 || s.commands < 1 || s.rounds < 1 || s.rate < 1 || s.kills < 1 {
		return errors.New("--tasks, --commands, --rounds, --rate and --kills must be at least 1")
	}
	for _, part := range s.parts {
		if !slices.Contains(allParts, part) {
			return fmt.Errorf("--only: no part is called %q; they are %s", part, strings.Join(allParts, ", "))
		}
	}
	return nil
}

func run(ctx context.Context, s settings) error {
	if err := s.check(); err != nil {
		return err
	}
	sides := slices.DeleteFunc(sides(), func(x *side) bool {
		return !strings.Contains(x.name, s.side) || !slices.ContainsFunc(x.parts, s.does)
	})
	var shares shares
	var ours, theirs recoveries
	for round := range s.rounds {
		for _, side := range sides {
			m, err := side.round(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", side.name, err)
			}
			side.rounds = append(side.rounds, m)
			progress(round, "%s: %.0f no-ops/s, %.0f commands/s", side.name, m.noopRate, m.commandRate)
		}
		if s.does(fairness) {
			if err := shares.round(ctx, s); err != nil {
				return fmt.Errorf("fairness: %w", err)
			}
			progress(round, "fairness: p50 %.0f ms alone, %.0f ms beside", shares.alone.p50(), shares.beside.p50())
		}
		if s.does(recovery) {
			if err := ours.round(ctx, s); err != nil {
				return fmt.Errorf("recovery: %w", err)
			}
			progress(round, "recovery: %.0f ms at most so far", ours.took.max())
		}
	}
	if s.does(recovery) && s.asynqPatience > 0 {
		if err := theirs.asynqRound(ctx, s); err != nil {
			return fmt.Errorf("asynq's recovery: %w", err)
		}
	}
	fmt.Printf("%d rounds, interleaved; median (range). %s, load %s at the end.\n", s.rounds, machine(), loadAverage())
	printSides(s, sides)
	printShares(s, shares)
	printRecoveries(s, ours, theirs)
	return nil
}

func progress(round int, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "round %d, %s; load %s\n", round+1, fmt.Sprintf(format, args...), loadAverage())
}
