// Measures the orchestrator with its real store and a real env runner, beside asynq with
// Redis on the same machine in the same run, and prints a table in Markdown.
//
//	go run . [--tasks 20000] [--commands 2000] [--rounds 5]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// settings are the flags.
type settings struct {
	orchestrator, reddb, runner, redis string
	store                              string
	tasks, commands, rounds            int
	rate                               int
	paced                              time.Duration
	pprof                              string
}

// contestant is one side of the comparison, freshly started for every round.
type contestant struct {
	name  string
	round func(ctx context.Context, s settings) (measurement, error)
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		os.Exit(1)
	}
}

func parse() settings {
	var s settings
	flag.StringVar(&s.orchestrator, "orchestrator-bin", "../../dist/bin/orchestrator", "program to measure")
	flag.StringVar(&s.reddb, "reddb-bin", "../../dist/bin/reddb", "its store")
	flag.StringVar(&s.runner, "env-runner-bin", "../../dist/bin/env-runner", "its runner")
	flag.StringVar(&s.redis, "redis-bin", "redis-server", "asynq's store")
	flag.StringVar(&s.store, "store", "reddb", "the orchestrator's store: reddb or redis")
	flag.IntVar(&s.tasks, "tasks", 20_000, "no-op tasks sent at once")
	flag.IntVar(&s.commands, "commands", 2_000, "/bin/true tasks sent at once")
	flag.IntVar(&s.rounds, "rounds", 5, "runs of each side, interleaved")
	flag.IntVar(&s.rate, "rate", 500, "no-op tasks per second of the paced part, sent one by one")
	flag.DurationVar(&s.paced, "paced", 4*time.Second, "duration of the paced part")
	flag.StringVar(&s.pprof, "pprof", "", "address for the orchestrator's profiles while it is measured")
	flag.Parse()
	return s
}

func run(ctx context.Context, s settings) error {
	if s.tasks < 1 || s.commands < 1 || s.rounds < 1 || s.rate < 1 {
		return errors.New("--tasks, --commands, --rounds and --rate must be at least 1")
	}
	contestants := []contestant{
		{"orchestrator, " + s.store + " (fsync), env-runner", orchestratorRound},
		{"asynq, redis (appendfsync always), handler in process", asynqRound},
	}
	results := make([][]measurement, len(contestants))
	for round := range s.rounds {
		for i, c := range contestants {
			m, err := c.round(ctx, s)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			results[i] = append(results[i], m)
			fmt.Fprintf(os.Stderr, "round %d, %s: %.0f tasks/s, load %s\n", round+1, c.name, m.noopRate, loadAverage())
		}
	}
	fmt.Printf("%d rounds, interleaved; median (range). %s, load %s at the end.\n\n", s.rounds, machine(), loadAverage())
	printTable(s, contestants, results)
	return nil
}

func machine() string {
	name := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), name)
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// spawn starts a program that dies with the benchmark; stop kills it.
func spawn(argv ...string) (stop func(), err error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", argv[0], err)
	}
	return func() {
		if err := cmd.Process.Kill(); err != nil {
			fmt.Fprintf(os.Stderr, "stopping %s: %v\n", argv[0], err)
		}
		_ = cmd.Wait() // reports the kill
	}, nil
}
