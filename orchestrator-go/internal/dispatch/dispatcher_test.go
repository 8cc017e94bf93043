package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errBroken = &backend.Fault{Code: "RunnerLost", Message: "gone", Cause: errors.New("connection reset")}

// running is a dispatcher at work; stop drains it.
type running struct {
	*Dispatcher
	stop func()
}

func run(q Queue, b Backend, change ...func(*Options)) running {
	opt := Defaults()
	for _, c := range change {
		c(&opt)
	}
	d := New(q, b, opt, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { d.Run(ctx) })
	return running{d, func() { cancel(); done.Wait() }}
}

// forSome lets the bubble's clock run, and everything settle.
func forSome(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func only(t *testing.T, q *fakeQueue) queue.Completion {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.done) != 1 {
		t.Fatalf("%d completions, want 1: %+v", len(q.done), q.done)
	}
	return q.done[0]
}

func TestOutcomes(t *testing.T) {
	one := 1
	for name, c := range map[string]struct {
		result *queue.Result
		err    error
		state  queue.State
		code   string
	}{
		"noop":     {nil, nil, queue.Succeeded, ""},
		"success":  {&queue.Result{Reason: "Completed"}, nil, queue.Succeeded, ""},
		"failure":  {&queue.Result{Reason: "NonZeroExit", ExitCode: &one}, nil, queue.Failed, ""},
		"oom":      {&queue.Result{Reason: "OOMKilled"}, nil, queue.Failed, ""},
		"rejected": {nil, &backend.Rejected{Code: "CannotStart", Message: "no such program"}, queue.Failed, "CannotStart"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQueue(queue.Spec{})
				d := run(q, fakeBackend(func(context.Context, queue.Task) (*queue.Result, error) { return c.result, c.err }))
				forSome(time.Minute)
				d.stop()
				out := only(t, q).Outcome
				if out.State != c.state || out.Attempts != 1 || out.Result != c.result {
					t.Errorf("outcome %+v", out)
				}
				if (out.Fault == nil) != (c.code == "") || (out.Fault != nil && out.Fault.Code != c.code) {
					t.Errorf("fault %+v", out.Fault)
				}
			})
		})
	}
}

func TestFaultsAreRetriedWithBackoffThenDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, begun := newFakeQueue(queue.Spec{MaxAttempts: 4}), time.Now()
		d := run(q, fakeBackend(func(context.Context, queue.Task) (*queue.Result, error) { return nil, errBroken }))
		forSome(time.Minute)
		d.stop()
		out := only(t, q).Outcome
		if out.State != queue.Dead || out.Attempts != 4 || out.Fault.Code != "RunnerLost" || out.Fault.Message != "gone" {
			t.Errorf("outcome %+v %+v", out, out.Fault)
		}
		wait := Defaults().BackoffBase
		for i, at := range q.retries {
			if got := at.Sub(begun); got < wait/2 || got > wait {
				t.Errorf("retry %d after %v, want between %v and %v", i+1, got, wait/2, wait)
			}
			begun, wait = at, 2*wait
		}
	})
}

func TestBackoffIsBounded(t *testing.T) {
	for attempt := 1; attempt < 100; attempt++ {
		if got := backoff(attempt, time.Second, time.Minute); got < time.Second/2 || got > time.Minute {
			t.Fatalf("backoff %v after attempt %d", got, attempt)
		}
	}
}

func TestPanicIsTheTasksFailureOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(queue.Spec{MaxAttempts: 1}, queue.Spec{Noop: true})
		d := run(q, fakeBackend(func(_ context.Context, task queue.Task) (*queue.Result, error) {
			if !task.Spec.Noop {
				panic("boom")
			}
			return nil, nil
		}))
		forSome(time.Second)
		d.stop()
		states := map[string]*queue.Outcome{}
		for _, c := range q.done {
			states[c.Lease.Entry] = c.Outcome
		}
		if states["1-0"].State != queue.Dead || states["1-0"].Fault.Code != "Panicked" || states["2-0"].State != queue.Succeeded {
			t.Errorf("outcomes %+v, %+v", states["1-0"], states["2-0"])
		}
	})
}

func TestLeasesAreRenewedWhileRunningAndWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(queue.Spec{MaxAttempts: 2})
		d := run(q, fakeBackend(func(ctx context.Context, _ queue.Task) (*queue.Result, error) {
			pause(ctx, 3*time.Second)
			return nil, errBroken
		}), func(o *Options) { o.BackoffBase = 6 * time.Second })
		forSome(30 * time.Second)
		d.stop()
		// 3 s of work, 3 to 6 s of backoff, 3 s of work, renewed every third of 1.5 s.
		if n := q.renewed["1-0"]; n < 16 || n > 25 {
			t.Errorf("renewed %d times", n)
		}
		if d.InFlight() != 0 || only(t, q).Outcome.State != queue.Dead {
			t.Error("the task did not end")
		}
	})
}

func TestLostLeaseEndsTheAttemptUnrecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(queue.Spec{})
		d := run(q, fakeBackend(untilEnd))
		forSome(time.Second)
		q.change(func(q *fakeQueue) { q.lost = []string{"1-0"} })
		forSome(time.Second)
		if len(q.done) != 0 || len(q.released) != 0 || d.held.has("1-0") {
			t.Errorf("done %+v, released %+v", q.done, q.released)
		}
		d.stop()
	})
}

func untilEnd(ctx context.Context, _ queue.Task) (*queue.Result, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestCancelledTaskIsAcknowledgedOnly(t *testing.T) {
	for name, cancel := range map[string]func(running, *fakeQueue){
		"here":      func(d running, _ *fakeQueue) { d.Cancel("task-1-0") },
		"elsewhere": func(_ running, q *fakeQueue) { q.change(func(q *fakeQueue) { q.ended = []string{"1-0"} }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newFakeQueue(queue.Spec{})
				d := run(q, fakeBackend(untilEnd))
				forSome(time.Second)
				cancel(d, q)
				forSome(time.Second)
				d.stop()
				if c := only(t, q); c.Outcome != nil {
					t.Errorf("recorded %+v", c.Outcome)
				}
			})
		})
	}
}

func TestReclaimedTaskRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue()
		q.expired = []queue.Lease{lease("1-0", queue.Spec{MaxAttempts: 3}, 2), lease("2-0", queue.Spec{MaxAttempts: 3}, 4)}
		d := run(q, fakeBackend(func(_ context.Context, task queue.Task) (*queue.Result, error) {
			if task.ID == "task-2-0" {
				t.Error("a task ran beyond its attempts")
			}
			return nil, nil
		}))
		forSome(time.Second)
		d.stop()
		for _, c := range q.done {
			switch {
			case c.Lease.Entry == "1-0" && (c.Outcome.State != queue.Succeeded || c.Outcome.Attempts != 2):
				t.Errorf("reclaimed: %+v", c.Outcome)
			case c.Lease.Entry == "2-0" && (c.Outcome.State != queue.Dead || c.Outcome.Fault.Code != "LeaseExpired"):
				t.Errorf("beyond its attempts: %+v", c.Outcome)
			}
		}
		if len(q.done) != 2 {
			t.Errorf("%d completions", len(q.done))
		}
	})
}

func TestOutcomeWaitsForTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(queue.Spec{})
		q.away = 20
		var ran atomic.Int32
		d := run(q, fakeBackend(func(context.Context, queue.Task) (*queue.Result, error) { ran.Add(1); return nil, nil }))
		forSome(2 * time.Second)
		if !d.held.has("1-0") {
			t.Error("the lease was given up before the outcome was recorded")
		}
		forSome(10 * time.Second)
		d.stop()
		if only(t, q); ran.Load() != 1 {
			t.Errorf("ran %d times", ran.Load())
		}
	})
}

func TestDrainFinishesWhatRunsAndHandsBackTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue(queue.Spec{TimeoutMS: 5}, queue.Spec{TimeoutMS: 3600}, queue.Spec{Argv: []string{"broken"}})
		d := run(q, fakeBackend(func(ctx context.Context, task queue.Task) (*queue.Result, error) {
			if task.Spec.Argv != nil {
				return nil, errBroken
			}
			if !pause(ctx, time.Duration(task.Spec.TimeoutMS)*time.Second) {
				return nil, ctx.Err()
			}
			return nil, nil
		}), func(o *Options) { o.BackoffBase = time.Hour; o.BackoffMax = time.Hour })
		forSome(time.Second)
		begun := time.Now()
		d.stop()
		if took := time.Since(begun); took < 19*time.Second || took > 22*time.Second {
			t.Errorf("drained in %v, want the drain timeout", took)
		}
		if c := only(t, q); c.Lease.Entry != "1-0" || c.Outcome.State != queue.Succeeded {
			t.Errorf("completed %+v", c)
		}
		// The attempt that was cut short is not charged, the one that failed is.
		next := map[string]int{}
		for _, l := range q.released {
			next[l.Entry] = l.Attempt
		}
		if want := map[string]int{"2-0": 1, "3-0": 2}; !maps.Equal(next, want) {
			t.Errorf("handed back with their next attempts %v, want %v", next, want)
		}
	})
}

func TestDrainingBeginsNothing(t *testing.T) {
	d := New(newFakeQueue(), fakeBackend(untilEnd), Defaults(), slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	d.draining = ctx.Done()
	for range 100 { // slots are free all the time; a select alone would take one half of the time
		h := d.held.add(t.Context(), lease("1-0", queue.Spec{}, 1))
		if d.takeSlot(h) || !errors.Is(context.Cause(h.ctx), errDraining) {
			t.Fatal("an attempt began while draining")
		}
		d.held.remove(h)
	}
}

// TestReadDuringAStopIsHandedBack has a read deliver in the moment of the stop.
func TestReadDuringAStopIsHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newFakeQueue()
		d := run(q, fakeBackend(func(context.Context, queue.Task) (*queue.Result, error) {
			t.Error("an attempt began while draining")
			return nil, nil
		}))
		forSome(100 * time.Millisecond)
		q.change(func(q *fakeQueue) { q.last = []queue.Lease{lease("1-0", queue.Spec{MaxAttempts: 1}, 1)} })
		d.stop()
		if len(q.released) != 1 || q.released[0].Attempt != 1 || len(q.done) != 0 {
			t.Errorf("handed back %+v, done %+v", q.released, q.done)
		}
	})
}

func TestSlotsBoundTheAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		specs := make([]queue.Spec, 50)
		q := newFakeQueue(specs...)
		var now, most atomic.Int32
		d := run(q, fakeBackend(func(ctx context.Context, _ queue.Task) (*queue.Result, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			pause(ctx, time.Second)
			now.Add(-1)
			return nil, nil
		}), func(o *Options) { o.Workers = 4; o.MaxHeld = 8 })
		forSome(time.Minute)
		d.stop()
		if most.Load() > 4 || len(q.done) != 50 {
			t.Errorf("%d at once, %d done", most.Load(), len(q.done))
		}
	})
}
