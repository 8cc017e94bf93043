package dispatch

import (
	"context"
	"errors"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestADrainWaitsForWhatRunsWhileOthersBegin(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.on("long", lasting(10*time.Second))
		w.store.enqueue("long", queue.Spec{})
		time.Sleep(time.Second)
		p.end()
		time.Sleep(time.Second)
		w.store.enqueue("late", queue.Spec{})
		time.Sleep(time.Second)
		w.expect("late", queue.Succeeded, "")
		w.open("long")
		<-p.ended
		w.expect("long", queue.Succeeded, "")
		w.stop(p)
		w.finish()
	})
}

func TestADrainEnds(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.on("t", lasting(time.Hour))
		w.store.enqueue("t", queue.Spec{MaxAttempts: 1})
		time.Sleep(time.Second)
		begun := time.Now()
		w.stop(p)
		if took := time.Since(begun); took < w.opt.DrainTimeout || took > w.opt.DrainTimeout+w.opt.Block {
			t.Errorf("drained within %v", took)
		}
		w.open("t")
		w.on("t", nil)
		next := w.start("b", nil)
		time.Sleep(time.Second)
		w.expect("t", queue.Succeeded, "") // the attempt that was broken off counted for none
		w.stop(next)
		w.finish()
	})
}

func TestADrainDoesNotWaitForWhatIsFoundAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		var cause error
		w.on("job", func(ctx context.Context, _ backend.Attempt) (*queue.Result, error) {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return nil, cause
		})
		w.store.enqueue("job", queue.Spec{Backend: queue.SlurmBackend, MaxAttempts: 1})
		time.Sleep(time.Second)
		begun := time.Now()
		w.stop(p)
		if took := time.Since(begun); took > w.opt.Block || !errors.Is(cause, backend.ErrDetached) {
			t.Errorf("drained within %v, and told it %v", took, cause)
		}
		w.on("job", nil)
		next := w.start("b", nil)
		time.Sleep(time.Second)
		w.expect("job", queue.Succeeded, "")
		w.stop(next)
		w.finish()
	})
}

// The store was asked to begin an attempt in the moment of the halt. It ran when nobody waited for it any more: its end
// was not recorded, and it counted.
func TestAnAttemptThatBeginsDuringTheHaltIsHandedBack(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", func(_ context.Context, op string) (before, after error) {
			if op == "begin" {
				time.Sleep(3 * time.Second)
			}
			return nil, nil
		})
		w.store.enqueue("t", queue.Spec{MaxAttempts: 1})
		time.Sleep(2 * time.Second)
		w.stop(p)
		next := w.start("b", nil)
		time.Sleep(5 * time.Second)
		w.expect("t", queue.Succeeded, "")
		w.stop(next)
		w.finish()
	})
}

// The read that the old leader had under way was given what came first: a parent could end before its child was found.
func TestWhatComesDuringAHandoverIsReadByTheNewLeader(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.Block = 5 * time.Second
		a := w.start("a", nil)
		time.Sleep(time.Second)
		b := w.start("b", nil)
		a.end()
		for _, _, leads := b.dispatcher.Leading(); !leads; _, _, leads = b.dispatcher.Leading() {
			time.Sleep(time.Millisecond)
		}
		w.store.enqueue("t", queue.Spec{})
		time.Sleep(100 * time.Millisecond)
		w.expect("t", queue.Succeeded, "")
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// A leader that was stopped was given the child when another led already, and did not hand it on.
func TestAScopeIsClosedAfterTheChildrenThatAFormerLeaderWasGiven(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.Block = 10 * time.Second
		a := w.start("a", nil)
		time.Sleep(time.Second)
		b := w.start("b", nil)
		w.store.enqueue("scope", queue.Spec{Scope: true})
		time.Sleep(time.Second)
		a.pause()
		for _, _, leads := b.dispatcher.Leading(); !leads; _, _, leads = b.dispatcher.Leading() {
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond)
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		time.Sleep(time.Millisecond)
		w.store.request(queue.OpClose, "scope")
		time.Sleep(10 * time.Second)
		w.expect("child", queue.Succeeded, "")
		if out, _ := w.store.end("scope"); out.Children != (queue.Children{Succeeded: 1}) {
			t.Errorf("its children: %+v", out.Children)
		}
		a.resume()
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}
