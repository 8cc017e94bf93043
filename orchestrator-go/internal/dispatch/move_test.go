package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// As many as there are, however few go into one transaction: what is left behind keeps the log from being cut short.
func TestAllThatIsOldIsMovedAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.KeepInLog = time.Minute
		p := w.start("a", nil)
		begun := time.Now()
		const tasks = 3*maxRecord + 1
		for i := range tasks {
			w.store.enqueue(fmt.Sprint(i), queue.Spec{NotBefore: begun.Add(100 * time.Second)})
		}
		time.Sleep(95 * time.Second)
		if n := w.store.moved(); n != tasks {
			t.Errorf("%d of %d were moved", n, tasks)
		}
		time.Sleep(time.Minute)
		w.stop(p)
		w.finish()
	})
}

// It was read without where its task stands, so that the counts of a scope began anew.
func TestWhereATaskStandsIsKnownWhenItsLeaderDiesOfMovingIt(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.KeepInLog = time.Minute
		a := w.start("a", func(_ context.Context, op string) (before, after error) {
			if op == "next" && w.store.moved() > 0 {
				return errAway, nil
			}
			return nil, nil
		})
		w.store.enqueue("scope", queue.Spec{Scope: true})
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		for w.store.moved() == 0 {
			time.Sleep(100 * time.Millisecond)
		}
		a.pause()
		b := w.start("b", nil)
		time.Sleep(5 * time.Second)
		w.store.request(queue.OpClose, "scope")
		time.Sleep(time.Second)
		w.expect("scope", queue.Succeeded, "")
		if out, _ := w.store.end("scope"); out.Children != (queue.Children{Succeeded: 1}) {
			t.Errorf("its children: %+v", out.Children)
		}
		a.resume()
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// The time for it came only when there was nothing to record.
func TestWhatIsOldIsMovedWhileThereIsAlwaysSomethingToRecord(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.KeepInLog = 10 * time.Second
		p := w.startLate("a", nil, func(op string) {
			if op == "record" {
				time.Sleep(50 * time.Millisecond)
			}
		})
		w.on("long", lasting(50*time.Second))
		w.store.enqueue("long", queue.Spec{})
		for i := range 4500 {
			w.store.enqueue(fmt.Sprint(i), queue.Spec{})
			time.Sleep(10 * time.Millisecond)
		}
		if w.store.moved() == 0 {
			t.Error("nothing was moved")
		}
		time.Sleep(20 * time.Second)
		w.stop(p)
		w.finish()
	})
}
