// Soak sends very many tasks through real processes while it kills them, and checks that every task ended exactly once.
//
//	go run ./soak -tasks 1000000 -every 5s
//
// It starts RedDB, orchestrators and runners that run nothing, kills or stops a random one every few seconds, and starts
// it again. At the end it reads every task, holds that against what it sent and what the runners saw, and prints a table.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are the settings of a soak.
type options struct {
	tasks, batch  int
	every         time.Duration // between two kills; 0 for none
	orchestrators int
	runners       int
	workers       int
	faults        int // of 1000 attempts, those that a runner answers with 500
	queued        int
	seed          int64
	reddb         string
	orchestrator  string // empty to build it
	source        string // of the module, to build it
	dir           string // empty for a temporary one
	quiet         bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == runnerCommand {
		exit(serveRunner(os.Args[2:]))
	}
	var o options
	flag.IntVar(&o.tasks, "tasks", 1_000_000, "to send, about")
	flag.IntVar(&o.batch, "batch", 2000, "tasks in one request")
	flag.DurationVar(&o.every, "every", 5*time.Second, "between two kills, about; 0 for none")
	flag.IntVar(&o.orchestrators, "orchestrators", 3, "how many run")
	flag.IntVar(&o.runners, "runners", 2, "how many run")
	flag.IntVar(&o.workers, "workers", 64, "attempts at once")
	flag.IntVar(&o.faults, "faults", 10, "of 1000 attempts, those that fail and are repeated")
	flag.IntVar(&o.queued, "max-queued", 50_000, "tasks that may wait before more are refused")
	flag.Int64Var(&o.seed, "seed", time.Now().UnixNano(), "of what is killed when")
	flag.StringVar(&o.reddb, "reddb", "../dist/bin/reddb", "the store's program")
	flag.StringVar(&o.orchestrator, "orchestrator", "", "the orchestrator's program; built when empty")
	flag.StringVar(&o.source, "source", ".", "the module's folder, to build it from")
	flag.StringVar(&o.dir, "dir", "", "for data and logs; a temporary one when empty")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	report, err := run(ctx, o)
	if report != nil {
		fmt.Print(report)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run is the whole soak. The report may be there with an error.
func run(ctx context.Context, o options) (*report, error) {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "soak-")
		if err != nil {
			return nil, err
		}
		defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
		o.dir = dir
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	o.dir = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := newFleet(ctx, o)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	if err := f.startAll(); err != nil {
		return nil, err
	}
	s := newSoak(o, f)
	began := time.Now()
	if err := s.work(ctx); err != nil {
		return nil, err
	}
	s.report.took = time.Since(began)
	s.report.memory = f.memory.quarters(began, time.Now())
	verifying := time.Now()
	err = s.verify(ctx)
	s.report.verified = time.Since(verifying)
	return &s.report, err
}
