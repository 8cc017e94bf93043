package runner_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/backend/runner"
	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// TestARealRunnerThatStops sends it SIGTERM while a command runs, whose checks it then refuses for as long as that takes.
func TestARealRunnerThatStops(t *testing.T) {
	stopping := backendtest.NewEnvRunner(t, fakerunner.Token)
	pool := startWith(t, runner.Options{
		Targets: []string{stopping.URL}, Token: fakerunner.Token, CheckTimeout: 100 * time.Millisecond,
	})
	ctx := bounded(t)
	long := make(chan error, 1)
	go func() {
		result, err := pool.Run(ctx, attempt("long", "/bin/sh", "-c", "touch started; sleep 1"))
		if err == nil && result.Reason != "Completed" {
			err = fmt.Errorf("the command was cut off: %+v", result)
		}
		long <- err
	}()
	queuetest.Eventually(t, 10*time.Second, "the command runs", func() bool {
		found, err := filepath.Glob(filepath.Join(stopping.Forks, "*", "started"))
		return err == nil && len(found) == 1
	})
	stopping.Stop(t)
	queuetest.Eventually(t, 10*time.Second, "the pool knows", func() bool { n, _ := pool.Healthy(); return n == 0 })
	if err := <-long; err != nil {
		t.Errorf("what ran at the stop: %v", err)
	}
}

func TestARunnerThatIsNotThereCostsNoAttempt(t *testing.T) {
	dead, other := fakerunner.Start(t, 4), fakerunner.Start(t, 4)
	dead.Config.SetKeepAlivesEnabled(false) // so that no request meets a connection that is just being closed
	pool := withBlobs(t, nil, dead, other)
	dead.Close()
	for range 8 {
		if _, err := pool.Run(bounded(t), attempt("t")); err != nil {
			t.Error(err)
		}
	}
}

func TestPressureIsTold(t *testing.T) {
	told, capacity := make(chan float64, 1024), make(chan int, 1024)
	fake := fakerunner.Start(t, 4)
	fake.Press(0.25, 3)
	pool := startWith(t, runner.Options{
		Targets: []string{fake.URL}, Token: fakerunner.Token, OnPressure: func(p float64) {
			select {
			case told <- p:
			default:
			}
		}, OnCapacity: func(n int) {
			select {
			case capacity <- n:
			default:
			}
		},
	})
	if got := <-capacity; got != 4 {
		t.Errorf("told of a capacity of %d", got)
	}
	if got := <-told; got != 0.25 || pool.Pressure() != 0.25 || pool.Capacity() != 4 {
		t.Errorf("told %v, pressure %v, capacity %d", got, pool.Pressure(), pool.Capacity())
	}
}

func TestCloseWaitsForWhatRunsAndTakesNothingNew(t *testing.T) {
	fake := fakerunner.Start(t, 1)
	pool := start(t, fakerunner.Token, fake.URL)
	results := make(chan error, 2)
	for _, id := range []string{"running", "waiting"} {
		go func() {
			_, err := pool.Run(bounded(t), attempt(id, "/bin/sleep", "0.5"))
			results <- err
		}()
		if id == "running" {
			<-fake.Admitted()
		}
	}
	if err := pool.Close(bounded(t)); err != nil {
		t.Error(err)
	}
	var stopped int
	for range 2 {
		var fault *backend.Fault
		if err := <-results; errors.As(err, &fault) && fault.Code == "Stopping" {
			stopped++
		} else if err != nil {
			t.Error(err)
		}
	}
	if stopped != 1 || len(fake.Runs()) != 1 {
		t.Errorf("%d were stopped, %d ran", stopped, len(fake.Runs()))
	}
	if _, err := pool.Run(bounded(t), attempt("late")); err == nil {
		t.Error("a closed pool took a task")
	}
}

func TestCloseEndsWhatTakesTooLong(t *testing.T) {
	fake := fakerunner.Start(t, 1)
	pool := start(t, fakerunner.Token, fake.URL)
	ended := make(chan error, 1)
	go func() {
		_, err := pool.Run(bounded(t), sleeper())
		ended <- err
	}()
	<-fake.Admitted()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pool.Close(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("what ran reported success")
	}
	if id := <-fake.Ceased(); id != "sleeper" {
		t.Errorf("ceased %s", id)
	}
}
