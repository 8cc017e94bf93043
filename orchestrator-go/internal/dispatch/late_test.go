package dispatch

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// What a reply brings that comes late may have ended: its child was admitted again, and was cancelled or counted again.
func TestAChildThatALateReplyBringsAgainCountsOnce(t *testing.T) {
	for _, recording := range []time.Duration{0, 3 * time.Second} { // its end is recorded before the reply comes, and after
		t.Run(fmt.Sprint(recording), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *world) {
				var lost, adopted atomic.Bool
				p := w.startLate("a", func(_ context.Context, op string) (before, after error) {
					if op == "next" && lost.CompareAndSwap(true, false) {
						return errAway, nil // all is asked for again
					}
					return nil, nil
				}, func(op string) {
					switch {
					case op == "adopt" && adopted.CompareAndSwap(true, false):
						time.Sleep(2 * time.Second)
					case op == "record":
						time.Sleep(recording)
					}
				})
				time.Sleep(time.Second)
				w.on("child", lasting(2*time.Second))
				w.store.enqueue("scope", queue.Spec{Scope: true})
				w.store.enqueue("child", queue.Spec{Parent: "scope", MaxAttempts: 1})
				time.Sleep(500 * time.Millisecond)
				adopted.Store(true)
				lost.Store(true) // of the read that comes after the one under way
				time.Sleep(10 * time.Second)
				w.expect("child", queue.Succeeded, "")
				w.open("scope")
				w.store.request(queue.OpClose, "scope")
				time.Sleep(10 * time.Second)
				w.expect("scope", queue.Succeeded, "")
				if out, _ := w.store.end("scope"); out.Children != (queue.Children{Succeeded: 1}) || w.attempts("child") != 1 {
					t.Errorf("after %d attempts, its children: %+v", w.attempts("child"), out.Children)
				}
				if lost.Load() || adopted.Load() {
					t.Error("no reply was late")
				}
				w.stop(p)
				w.finish()
			})
		})
	}
}

// The end was recorded, read, and taken back; then it was recorded again, as nobody had heard that it was.
func TestADeadLetterThatIsPutBackAtOnceRunsAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		var lost, back atomic.Bool
		p := w.startLate("a", func(_ context.Context, op string) (before, after error) {
			if op == "record" && lost.CompareAndSwap(false, true) {
				return nil, errAway
			}
			return nil, nil
		}, func(op string) {
			if op == "record" && w.store.states()["t"] == queue.Dead && back.CompareAndSwap(false, true) {
				w.on("t", nil)
				w.store.revive("t")
			}
		})
		w.on("t", func(context.Context, backend.Attempt) (*queue.Result, error) { return nil, errLost })
		w.store.enqueue("t", queue.Spec{MaxAttempts: 1})
		time.Sleep(time.Minute)
		if got := w.store.states()["t"]; got != queue.Succeeded {
			t.Errorf("it ended as %q", got)
		}
		w.stop(p)
	})
}
