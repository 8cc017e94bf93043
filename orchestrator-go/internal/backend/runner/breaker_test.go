package runner

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// on returns a pool whose runners, at made-up addresses, are all healthy and take four requests each.
func on(t *testing.T, urls ...string) *Pool {
	t.Helper()
	p, err := NewPool(Options{Targets: urls}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range p.endpoints {
		e.passed(time.Now(), info{MaxConcurrent: 4})
	}
	return p
}

func fault(code string) error {
	return &backend.Fault{Code: code, Message: code, Cause: errors.New("as the test asked")}
}

// use takes a place for a task and gives it back with an end; it returns the runner's URL, empty when it had to wait.
func use(t *testing.T, p *Pool, id string, end error) string {
	t.Helper()
	pl := take(t, p, id)
	if pl == nil {
		return ""
	}
	p.release(t.Context(), pl, queue.Task{ID: id}, end)
	return pl.endpoint.url
}

// take returns a place for a task, nil when it would have to wait: in a bubble, time passes only when all wait.
func take(t *testing.T, p *Pool, id string) *place {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	pl, err := p.acquire(ctx, p.want(queue.Task{ID: id}))
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	return pl
}

const only = "http://only:1"

// recovered is what the next check finds out about a lost runner: it answers.
func recovered(p *Pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		e.passed(time.Now(), info{MaxConcurrent: 4})
	}
}

func TestFaultsOpenTheBreakerAndOneTaskTriesIt(t *testing.T) {
	for _, code := range []string{codeLost, codeFault} {
		synctest.Test(t, func(t *testing.T) {
			p := on(t, only)
			for range breakerFaults {
				if use(t, p, "t", fault(code)) == "" {
					t.Fatal("the breaker opened too early")
				}
				recovered(p)
			}
			if use(t, p, "t", nil) != "" {
				t.Fatal("the breaker let a task through at once")
			}
			time.Sleep(p.opt.BreakerDelay)
			probe := take(t, p, "probe")
			if probe == nil {
				t.Fatal("the breaker let none through after its delay")
			}
			if use(t, p, "second", nil) != "" {
				t.Error("a half-open breaker let a second task through")
			}
			p.release(t.Context(), probe, queue.Task{ID: "probe"}, nil)
			for _, id := range []string{"a", "b"} {
				if take(t, p, id) == nil {
					t.Error("the breaker did not close")
				}
			}
		})
	}
}

func TestAFailedProbeOpensTheBreakerAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t)
		if use(t, p, "probe", fault(codeFault)) == "" {
			t.Fatal("no probe")
		}
		if use(t, p, "t", nil) != "" {
			t.Error("the breaker closed after a failed probe")
		}
		time.Sleep(p.opt.BreakerDelay)
		if use(t, p, "t", nil) == "" {
			t.Error("the breaker never opened again")
		}
	})
}

// opened is a pool whose only runner's breaker has opened and would let a probe through.
func opened(t *testing.T) *Pool {
	t.Helper()
	p := on(t, only)
	for range breakerFaults {
		use(t, p, "t", fault(codeFault))
	}
	time.Sleep(p.opt.BreakerDelay)
	return p
}

func TestAProbeThatRunsOnClosesTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t)
		if take(t, p, "for an hour") == nil {
			t.Fatal("no probe")
		}
		time.Sleep(p.opt.BreakerDelay)
		synctest.Wait()
		if take(t, p, "next") == nil {
			t.Error("a long probe kept the breaker half-open")
		}
	})
}

func TestACancelledProbeDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := opened(t)
		probe := take(t, p, "probe")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p.release(ctx, probe, queue.Task{ID: "probe"}, fault(codeLost))
		if next := take(t, p, "next"); next == nil || next.endpoint.probe != next {
			t.Error("the next task is no probe")
		}
		if take(t, p, "third") != nil {
			t.Error("a cancelled probe closed the breaker")
		}
	})
}

func TestWhatIsNoFaultOfTheRunnerNeverCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, only)
		for range 2 * breakerAnswers {
			for _, end := range []error{
				nil, // such as a command that failed
				&backend.Rejected{Code: "CannotStart"}, fault("WorkspaceUnavailable"), &errLater{},
			} {
				if use(t, p, "t", end) == "" {
					t.Fatalf("%v opened the breaker", end)
				}
			}
		}
	})
}

func TestARunnerThatDoesNotBeginATaskIsLeftAlone(t *testing.T) {
	for name, why := range map[string]*errLater{
		"full": {after: time.Second}, "unreachable": {unreachable: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := on(t, only)
				use(t, p, "t", why)
				if take(t, p, "t") != nil {
					t.Error("it was asked again at once")
				}
				time.Sleep(why.after)
				recovered(p)
				if take(t, p, "t") == nil {
					t.Error("it was never asked again")
				}
			})
		})
	}
}

func TestThoseWhoWaitAreServedWhenTheBreakerTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, only)
		for range breakerFaults {
			use(t, p, "t", fault(codeFault))
		}
		began := time.Now()
		if _, err := p.acquire(t.Context(), want{}); err != nil || time.Since(began) != p.opt.BreakerDelay {
			t.Errorf("served after %v, %v", time.Since(began), err)
		}
	})
}

func TestTheNextAttemptPrefersAnotherRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, "http://a:1", "http://b:1")
		first := use(t, p, "t", fault(codeFault))
		if second := use(t, p, "t", nil); second == first || second == "" {
			t.Errorf("the attempt after a fault of %s went to %q", first, second)
		}
		if third := use(t, p, "t", nil); third != first {
			t.Errorf("a success did not clear the memory: %q", third)
		}
		first = use(t, p, "t", fault(codeFault))
		for _, e := range p.endpoints {
			e.gone = e.url != first
		}
		if use(t, p, "t", nil) != first {
			t.Error("with no other runner the task was not run")
		}
	})
}
