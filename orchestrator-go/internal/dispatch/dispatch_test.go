package dispatch

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestTasksRunAndEnd(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		for i := range 100 {
			id := fmt.Sprint(i)
			w.on(id, lasting(time.Second))
			w.store.enqueue(id, queue.Spec{})
		}
		time.Sleep(30 * time.Second)
		for i := range 100 {
			w.expect(fmt.Sprint(i), queue.Succeeded, "")
		}
		if w.most != 4 {
			t.Errorf("%d ran at once, of 4", w.most)
		}
		w.stop(p)
		w.finish()
	})
}

func TestAPanicIsThatTasksFailure(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.on("bad", func(context.Context, backend.Attempt) (*queue.Result, error) { panic("as the test asked") })
		w.store.enqueue("bad", queue.Spec{MaxAttempts: 2})
		w.store.enqueue("good", queue.Spec{})
		time.Sleep(time.Minute)
		w.expect("bad", queue.Dead, "Panicked")
		w.expect("good", queue.Succeeded, "")
		w.stop(p)
		w.finish()
	})
}

func TestFaultsAreRetriedLaterEachTime(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		var at []time.Time
		w.on("t", func(_ context.Context, a backend.Attempt) (*queue.Result, error) {
			if a.Fresh != (a.Number == 1) {
				t.Errorf("attempt %d is fresh: %v", a.Number, a.Fresh)
			}
			if at = append(at, time.Now()); len(at) < 5 {
				return nil, errLost
			}
			return &queue.Result{Reason: "Completed"}, nil
		})
		p := w.start("a", nil)
		w.store.enqueue("t", queue.Spec{MaxAttempts: 5})
		time.Sleep(time.Minute)
		w.expect("t", queue.Succeeded, "")
		for i := 1; i < len(at); i++ {
			full := w.opt.BackoffBase << (i - 1)
			if wait := at[i].Sub(at[i-1]); wait < full/2 || wait > full+100*time.Millisecond {
				t.Errorf("attempt %d began after %v, of %v", i+1, wait, full)
			}
		}
		w.stop(p)
		w.finish()
	})
}

func TestARefusedTaskIsNotTriedAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.on("t", func(context.Context, backend.Attempt) (*queue.Result, error) {
			return nil, &backend.Rejected{Code: "CannotStart", Message: "no such program"}
		})
		w.store.enqueue("t", queue.Spec{MaxAttempts: 5})
		w.store.enqueue("unknown", queue.Spec{Backend: "elsewhere", MaxAttempts: 5})
		time.Sleep(time.Minute)
		w.expect("t", queue.Failed, "CannotStart")
		w.expect("unknown", queue.Failed, "BackendUnknown")
		w.stop(p)
		w.finish()
	})
}

func TestACancelledAttemptIsTold(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		var cause error
		w.on("t", func(ctx context.Context, _ backend.Attempt) (*queue.Result, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, cause
		})
		w.store.enqueue("t", queue.Spec{MaxAttempts: 5})
		time.Sleep(time.Second)
		w.store.request(queue.OpCancel, "t")
		time.Sleep(time.Second)
		w.expect("t", queue.Cancelled, "")
		if !errors.Is(cause, backend.ErrCancelled) {
			t.Errorf("told %v", cause)
		}
		w.stop(p)
		w.finish()
	})
}

func TestATaskThatIsCancelledWhileItBeginsDoesNotRun(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", func(_ context.Context, op string) (before, after error) {
			if op == "begin" {
				time.Sleep(5 * time.Second)
			}
			return nil, nil
		})
		w.store.enqueue("t", queue.Spec{})
		time.Sleep(2 * time.Second)
		w.store.request(queue.OpCancel, "t")
		time.Sleep(10 * time.Second)
		w.expect("t", queue.Cancelled, "")
		if n := w.attempts("t"); n != 0 {
			t.Errorf("it ran %d times", n)
		}
		w.stop(p)
		w.finish()
	})
}

func TestWhatRunsKeepsWithinItsBytes(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.MaxBytes = 100
		p := w.start("a", nil)
		for i := range 6 {
			id := fmt.Sprint(i)
			w.on(id, lasting(time.Second))
			w.store.enqueue(id, queue.Spec{OutputLimitBytes: 20}) // of each of two streams
		}
		w.on("large", lasting(time.Second))
		w.store.enqueue("large", queue.Spec{OutputLimitBytes: 1000}) // alone
		time.Sleep(20 * time.Second)
		w.expect("large", queue.Succeeded, "")
		if w.most != 2 {
			t.Errorf("%d ran at once", w.most)
		}
		w.stop(p)
		w.finish()
	})
}

// It held up all that were asked for along with it, for ever.
func TestATaskThatCannotBeReadHoldsUpNobody(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		time.Sleep(time.Second)
		w.store.enqueue("scope", queue.Spec{Scope: true})
		w.store.enqueue("bad", queue.Spec{Backend: unreadable, Parent: "scope", LimitKey: "k", LimitMax: 1})
		w.store.enqueue("good", queue.Spec{Parent: "scope", LimitKey: "k", LimitMax: 1})
		w.store.request(queue.OpClose, "scope")
		time.Sleep(time.Second)
		w.expect("bad", queue.Dead, "TaskUnreadable")
		w.expect("good", queue.Succeeded, "")
		if out, _ := w.store.end("scope"); out.Children != (queue.Children{Succeeded: 1, Failed: 1}) || w.attempts("bad") != 0 {
			t.Errorf("its children: %+v", out.Children)
		}
		w.stop(p)
		w.finish()
	})
}
