// Package backendtest is what every backend must hold to, real or fake.
package backendtest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

const patience = 20 * time.Second

// Run checks a backend on programs that every Linux has.
func Run(t *testing.T, b backend.Backend) {
	for _, c := range []struct {
		name   string
		spec   queue.Spec
		reason string
		exit   int
		stdout string
	}{
		{"success", queue.Spec{Argv: []string{"/bin/true"}}, "Completed", 0, ""},
		{"a failing command is a result", queue.Spec{Argv: []string{"/bin/false"}}, "NonZeroExit", 1, ""},
		{"arguments stay apart", queue.Spec{Argv: []string{"/bin/echo", "a b", "$HOME"}}, "Completed", 0, "a b $HOME\n"},
		{"stdin", queue.Spec{Argv: []string{"/bin/cat"}, Stdin: "line\n"}, "Completed", 0, "line\n"},
		{"env", queue.Spec{Argv: []string{"/usr/bin/printenv", "GREETING"}, Env: map[string]string{"GREETING": "hi"}}, "Completed", 0, "hi\n"},
		{"the fencing token", queue.Spec{Argv: []string{"/usr/bin/printenv", "DSPY_FENCING_TOKEN"}}, "Completed", 0, "17\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			result, err := run(t.Context(), b, c.spec)
			if err != nil {
				t.Fatal(err)
			}
			if result.Reason != c.reason || result.ExitCode == nil || *result.ExitCode != c.exit || result.Stdout != c.stdout {
				t.Errorf("got %+v", result)
			}
		})
	}
	t.Run("noop", func(t *testing.T) {
		if result, err := run(t.Context(), b, queue.Spec{Noop: true}); result != nil || err != nil {
			t.Errorf("got %v, %v", result, err)
		}
	})
	t.Run("timeout is a result", func(t *testing.T) {
		result, err := run(t.Context(), b, queue.Spec{Argv: []string{"/bin/sleep", "60"}, TimeoutMS: 50})
		if err != nil || result.Reason != "TimedOut" || result.ExitCode != nil {
			t.Errorf("got %+v, %v", result, err)
		}
	})
	t.Run("a program that does not exist is rejected", func(t *testing.T) {
		_, err := run(t.Context(), b, queue.Spec{Argv: []string{"/no/such/program"}})
		var rejected *backend.Rejected
		if !errors.As(err, &rejected) || rejected.Code != "CannotStart" || rejected.Message == "" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a command knows its task", func(t *testing.T) {
		a := attempt(queue.Spec{Argv: []string{"/usr/bin/printenv", "DSPY_TASK_ID"}}, func(string) {})
		if result, err := b.Run(t.Context(), a); err != nil || result.Stdout != a.Task.ID+"\n" {
			t.Errorf("got %+v, %v", result, err)
		}
	})
	t.Run("cancelling ends the wait", func(t *testing.T) { cancels(t, b) })
}

func cancels(t *testing.T, b backend.Backend) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := b.Run(ctx, attempt(queue.Spec{Argv: []string{"/bin/sleep", "60"}}, func(string) { cancel() }))
	if err == nil {
		t.Error("a cancelled run reported success")
	}
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		t.Error("the run went on after it was cancelled")
	}
	if result, err := run(t.Context(), b, queue.Spec{Argv: []string{"/bin/echo", "next"}}); err != nil || !strings.Contains(result.Stdout, "next") {
		t.Errorf("the run after a cancelled one: %v, %v", result, err)
	}
}

func run(ctx context.Context, b backend.Backend, spec queue.Spec) (*queue.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return b.Run(ctx, attempt(spec, func(string) {}))
}

func attempt(spec queue.Spec, started func(string)) backend.Attempt {
	if spec.TimeoutMS == 0 {
		spec.TimeoutMS = 10_000
	}
	spec.OutputLimitBytes = 1 << 16
	return backend.Attempt{Task: queue.Task{ID: uuid.NewString(), Spec: spec}, Number: 1, Token: 17, Started: started}
}
