package slurm

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

const patience = 40 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// overCLI is a backend that speaks to a cluster by commands.
func overCLI(t testing.TB, c *slurmtest.Cluster, change ...func(*Options)) *Backend {
	t.Helper()
	return made(t, Options{Conf: c.Conf, Spool: c.Spool}, change)
}

// overREST is a backend that speaks to a cluster's slurmrestd.
func overREST(t testing.TB, c *slurmtest.Cluster, url, user string, change ...func(*Options)) *Backend {
	t.Helper()
	return made(t, Options{URL: url, User: user, Spool: c.Spool, SpoolMode: 0o777}, change)
}

func made(t testing.TB, opt Options, change []func(*Options)) *Backend {
	t.Helper()
	for _, f := range change {
		f(&opt)
	}
	b, err := New(opt, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func taskOf(spec queue.Spec) queue.Task {
	if spec.TimeoutMS == 0 {
		spec.TimeoutMS = 60_000
	}
	return queue.Task{ID: uuid.NewString(), Spec: spec}
}

// outcome is what Run returned.
type outcome struct {
	result *queue.Result
	err    error
}

// underway is a Run in the background.
type underway struct {
	t       testing.TB
	b       *Backend
	task    queue.Task
	cancel  context.CancelCauseFunc
	started chan string
	over    chan outcome
}

func begin(t testing.TB, b *Backend, task queue.Task) *underway {
	ctx, cancel := context.WithCancelCause(t.Context())
	u := &underway{t: t, b: b, task: task, cancel: cancel, started: make(chan string, 1), over: make(chan outcome, 1)}
	go func() {
		result, err := b.Run(ctx, backend.Attempt{Task: task, Number: 1, Token: 7, Started: func(place string) { u.started <- place }})
		u.over <- outcome{result, err}
	}()
	return u
}

func (u *underway) awaitStart() string {
	u.t.Helper()
	select {
	case place := <-u.started:
		return place
	case o := <-u.over:
		u.t.Fatalf("it ended before it began: %+v, %v", o.result, o.err)
	case <-time.After(patience):
		u.t.Fatal("it did not begin")
	}
	return ""
}

func (u *underway) end() (*queue.Result, error) {
	u.t.Helper()
	select {
	case o := <-u.over:
		return o.result, o.err
	case <-time.After(patience):
		u.t.Fatal("it did not end")
	}
	return nil, nil
}

func (u *underway) result() *queue.Result {
	u.t.Helper()
	result, err := u.end()
	if err != nil {
		u.t.Fatal(err)
	}
	return result
}

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }
