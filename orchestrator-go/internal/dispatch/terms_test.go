package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestALeaderThatStopsAnsweringIsReplacedWithinTwoSeconds(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.start("a", nil)
		time.Sleep(5 * time.Second)
		b := w.start("b", nil)
		var causes []error
		w.on("t", func(ctx context.Context, at backend.Attempt) (*queue.Result, error) {
			if at.Number > 1 {
				return nil, nil
			}
			<-ctx.Done()
			causes = append(causes, context.Cause(ctx))
			return nil, context.Cause(ctx)
		})
		w.store.enqueue("t", queue.Spec{MaxAttempts: 3})
		time.Sleep(time.Second)
		a.pause()
		time.Sleep(2 * time.Second)
		w.expect("t", queue.Succeeded, "")
		if _, _, leads := b.dispatcher.Leading(); !leads {
			t.Error("nobody leads")
		}
		a.resume()
		time.Sleep(time.Second)
		if _, _, leads := a.dispatcher.Leading(); leads || len(causes) != 1 || !errors.Is(causes[0], backend.ErrDetached) {
			t.Errorf("the old leader goes on, or told its attempt %v", causes)
		}
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// Its lease is gone before it knows: what it would record is refused.
func TestAStaleLeadersOutcomesAreRefused(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.start("a", nil)
		time.Sleep(time.Second)
		b := w.start("b", nil)
		w.on("t", lasting(3*time.Second))
		w.store.enqueue("t", queue.Spec{MaxAttempts: 3})
		time.Sleep(time.Second)
		a.pause()
		time.Sleep(3 * time.Second) // its attempt has ended, the one of its successor has not
		a.resume()
		time.Sleep(100 * time.Millisecond)
		w.open("t")
		time.Sleep(5 * time.Second)
		w.expect("t", queue.Succeeded, "")
		if n := w.attempts("t"); n != 2 {
			t.Errorf("%d attempts", n)
		}
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// away is a mishap that can be switched on and off: the store does not answer.
type away struct {
	now atomic.Bool
	ops []string // that it is about; all when empty
}

func (a *away) mishap(ctx context.Context, op string) (before, after error) {
	if !a.now.Load() || len(a.ops) > 0 && !slices.Contains(a.ops, op) {
		return nil, nil
	}
	pause(ctx, 50*time.Millisecond)
	return errAway, nil
}

func TestNothingBeginsAfterTheLeaseUntilTheStoreIsBack(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		lost := &away{ops: []string{"lead"}}
		var asked atomic.Int64
		p := w.start("a", func(ctx context.Context, op string) (before, after error) {
			if op == "begin" {
				asked.Add(1)
			}
			return lost.mishap(ctx, op)
		})
		time.Sleep(time.Second)
		lost.now.Store(true)
		time.Sleep(2 * time.Second)
		w.store.enqueue("t", queue.Spec{})
		time.Sleep(time.Minute)
		if w.attempts("t") != 0 || asked.Load() != 0 {
			t.Error("an attempt began although another process could lead")
		}
		lost.now.Store(false)
		time.Sleep(2 * w.opt.Lease)
		w.expect("t", queue.Succeeded, "")
		w.stop(p)
		w.finish()
	})
}

func TestAnAttemptWhoseBeginOutlastsTheLeaseDoesNotRun(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		lost := &away{ops: []string{"lead"}}
		p := w.start("a", func(ctx context.Context, op string) (before, after error) {
			if op == "begin" && lost.now.Load() {
				time.Sleep(2 * w.opt.Lease)
			}
			return lost.mishap(ctx, op)
		})
		time.Sleep(time.Second)
		lost.now.Store(true)
		w.store.enqueue("t", queue.Spec{MaxAttempts: 1})
		time.Sleep(time.Minute)
		if n := w.attempts("t"); n != 0 {
			t.Error("an attempt began although another process could lead")
		}
		lost.now.Store(false)
		time.Sleep(2 * w.opt.Lease)
		w.expect("t", queue.Succeeded, "")
		w.stop(p)
		w.finish()
	})
}

func TestOutcomesAreInsistedOn(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		lost := &away{}
		p := w.start("a", lost.mishap)
		for i := range 4 {
			id := fmt.Sprint(i)
			w.on(id, lasting(5*time.Second))
			w.store.enqueue(id, queue.Spec{MaxAttempts: 1})
		}
		time.Sleep(time.Second)
		lost.now.Store(true)
		time.Sleep(10 * time.Minute)
		lost.now.Store(false)
		time.Sleep(time.Second)
		for i := range 4 {
			w.expect(fmt.Sprint(i), queue.Succeeded, "")
		}
		if got := w.seen.Counts(); got.Repeated != 0 {
			t.Errorf("%d attempts were repeated", got.Repeated)
		}
		w.stop(p)
		w.finish()
	})
}

// once is a mishap that happens a first time to an operation, after or before it took effect.
func once(op string, afterwards bool) func(context.Context, string) (before, after error) {
	var happened atomic.Bool
	return func(_ context.Context, asked string) (before, after error) {
		if asked != op || happened.Swap(true) {
			return nil, nil
		}
		if afterwards {
			return nil, errAway
		}
		return errAway, nil
	}
}

// A reply of every kind is lost once. Entries whose reading was not heard of were never read again.
func TestEveryLostReplyIsMadeGood(t *testing.T) {
	for _, op := range []string{"lead", "adopt", "next", "begin", "record", "resign"} {
		for _, afterwards := range []bool{false, true} {
			t.Run(fmt.Sprint(op, afterwards), func(t *testing.T) {
				simulate(t, func(t *testing.T, w *world) {
					first := w.start("zero", nil)
					w.on("running", lasting(time.Hour))
					w.store.enqueue("running", queue.Spec{MaxAttempts: 3})
					time.Sleep(time.Second)
					w.stop(first)
					w.on("running", nil)
					w.store.enqueue("before", queue.Spec{})
					p := w.start("a", once(op, afterwards))
					time.Sleep(time.Second)
					for i := range 10 {
						w.store.enqueue(fmt.Sprint(i), queue.Spec{MaxAttempts: 3})
						time.Sleep(100 * time.Millisecond)
					}
					time.Sleep(10 * time.Second)
					for i := range 10 {
						w.expect(fmt.Sprint(i), queue.Succeeded, "")
					}
					w.expect("before", queue.Succeeded, "")
					w.stop(p)
					last := w.start("b", nil)
					time.Sleep(3 * time.Second)
					w.stop(last)
					if got := w.seen.Counts(); got.Repeated > 1 {
						t.Errorf("%d attempts were repeated", got.Repeated)
					}
					w.finish()
				})
			})
		}
	}
}

// The same idempotency key again: the entry stayed as an open scope, which nobody could close.
func TestAScopeThatIsSentAgainAfterItsEndLeavesNothing(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.store.enqueue("scope", queue.Spec{Scope: true})
		w.store.request(queue.OpClose, "scope")
		time.Sleep(time.Second)
		w.expect("scope", queue.Succeeded, "")
		w.store.enqueue("scope", queue.Spec{Scope: true})
		time.Sleep(time.Second)
		w.stop(p)
		w.finish()
	})
}

// It was counted as another child, one that failed.
func TestAChildThatIsSentAgainAfterItsEndCountsOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		p := w.start("a", nil)
		w.on("long", lasting(10*time.Second))
		w.store.enqueue("scope", queue.Spec{Scope: true})
		w.store.enqueue("long", queue.Spec{Parent: "scope"})
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		w.store.request(queue.OpClose, "scope")
		time.Sleep(time.Second)
		w.expect("child", queue.Succeeded, "")
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		time.Sleep(20 * time.Second)
		w.expect("scope", queue.Succeeded, "")
		if out, _ := w.store.end("scope"); out.Children != (queue.Children{Succeeded: 2}) {
			t.Errorf("its children: %+v", out.Children)
		}
		w.stop(p)
		w.finish()
	})
}

// What the store gave the former leader, which waited for entries when it was stopped, is read before what refers to it.
func TestAParentThatTheFormerLeaderWasGivenIsKnownToItsChildren(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.Block = time.Minute
		a := w.start("a", nil)
		time.Sleep(time.Second)
		a.pause()
		var behind atomic.Bool
		b := w.start("b", func(_ context.Context, op string) (before, after error) {
			for op == "next" && behind.Load() {
				time.Sleep(time.Millisecond)
			}
			return nil, nil
		})
		time.Sleep(2 * time.Second)
		behind.Store(true)
		w.store.enqueue("scope", queue.Spec{Scope: true})
		w.store.enqueue("t", queue.Spec{NotBefore: time.Now().Add(time.Hour)})
		synctest.Wait() // the one that waited first is given them
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		w.store.request(queue.OpCancel, "t")
		w.store.request(queue.OpClose, "scope")
		behind.Store(false)
		time.Sleep(5 * time.Second)
		w.expect("child", queue.Succeeded, "")
		w.expect("scope", queue.Succeeded, "")
		w.expect("t", queue.Cancelled, "")
		a.resume()
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// Its leader died before it could end the job, which goes on by itself.
func TestWhatACancelledTaskLeftIsEndedByTheNextLeader(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		a := w.start("a", nil)
		w.on("t", lasting(time.Hour))
		w.store.enqueue("t", queue.Spec{Backend: queue.SlurmBackend})
		time.Sleep(time.Second)
		a.pause()
		w.store.request(queue.OpCancel, "t")
		b := w.start("b", nil)
		time.Sleep(5 * time.Second)
		w.expect("t", queue.Cancelled, "")
		if n := w.attempts("t"); n != 1 || !slices.Equal(w.reaped, []string{"t"}) {
			t.Errorf("%d attempts; ended what was left of %v", n, w.reaped)
		}
		a.resume()
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}

// What comes between a new leader's look for what is pending and its first read may be the former leader's, whose read
// was under way. A child was ended, as its parent was not there.
func TestAParentThatTheFormerLeaderWasGivenDuringATakeoverIsKnownToItsChildren(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.Block = time.Minute
		a := w.start("a", nil)
		time.Sleep(time.Second)
		a.pause()
		var behind atomic.Bool
		behind.Store(true)
		b := w.start("b", func(_ context.Context, op string) (before, after error) {
			for op == "next" && behind.Load() {
				time.Sleep(time.Millisecond)
			}
			return nil, nil
		})
		time.Sleep(5 * time.Second)
		w.store.enqueue("scope", queue.Spec{Scope: true})
		synctest.Wait() // the one that waited first is given it
		w.store.enqueue("child", queue.Spec{Parent: "scope"})
		w.store.request(queue.OpClose, "scope")
		behind.Store(false)
		time.Sleep(5 * time.Second)
		w.expect("child", queue.Succeeded, "")
		w.expect("scope", queue.Succeeded, "")
		a.resume()
		w.stop(a)
		w.stop(b)
		w.finish()
	})
}
