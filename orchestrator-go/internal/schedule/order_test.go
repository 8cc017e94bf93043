package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

func TestTheHighestPriorityGoesFirstThenTheOldest(t *testing.T) {
	w := newWorld(t)
	for i, p := range []int{0, 5, -1, 5, 0} {
		w.add(fmt.Sprint(i), func(e *queue.Entry) { e.Meta.Priority = p })
	}
	if got := w.begin(10); !slices.Equal(got, []string{"1", "3", "0", "4", "2"}) {
		t.Errorf("began in the order %v", got)
	}
}

func TestATenantGetsTheNextPlaceWhateverOthersHaveQueued(t *testing.T) {
	w := newWorld(t)
	for i := range 1000 {
		w.add(fmt.Sprint("a", i), func(e *queue.Entry) { e.Meta.Tenant, e.Meta.Priority = "a", 100 })
	}
	w.begin(10)
	w.add("b", func(e *queue.Entry) { e.Meta.Tenant = "b" })
	w.succeed("a0")
	if got := w.begin(1); got[0] != "b" {
		t.Errorf("%s got the place that became free", got[0])
	}
	w.succeed("b")
	w.add("c", func(e *queue.Entry) { e.Meta.Tenant = "c" })
	w.add("b2", func(e *queue.Entry) { e.Meta.Tenant = "b" })
	if got := w.begin(3); !slices.Equal(got[:2], []string{"c", "b2"}) {
		t.Errorf("began %v", got)
	}
}

func TestClassesTakeTurnsAndDoNotWaitForOneAnother(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.add(fmt.Sprint("long", i), func(e *queue.Entry) { e.Meta.Class = queue.Long })
	}
	w.add("short", nil)
	noLong := func(e queue.Entry) bool { return e.Meta.Class != queue.Long }
	got := w.machine.Pick(10, noLong)
	if len(got) != 1 || got[0].Task != "short" {
		t.Errorf("picked %v", got)
	}
}

func TestALimitKeyHoldsOverTenantsLanes(t *testing.T) {
	w := newWorld(t)
	keyed := func(class queue.Class) func(*queue.Entry) {
		return func(e *queue.Entry) { e.Meta.Class, e.Meta.LimitKey, e.Meta.LimitMax = class, "db", 2 }
	}
	for i := range 4 {
		w.add(fmt.Sprint("s", i), keyed(queue.Short))
		w.add(fmt.Sprint("l", i), keyed(queue.Long))
	}
	w.add("free", nil)
	w.add("other", func(e *queue.Entry) { keyed(queue.Short)(e); e.Meta.Tenant = "other" })
	if got := w.begin(10); len(got) != 4 || !slices.Contains(got, "free") || !slices.Contains(got, "other") {
		t.Errorf("began %v", got)
	}
	for len(w.running) > 0 {
		keyedRunning := 0
		for id := range w.running {
			if id != "free" && id != "other" {
				keyedRunning++
			}
		}
		if keyedRunning > 2 {
			t.Fatalf("%d run at once", keyedRunning)
		}
		for id := range w.running {
			w.succeed(id)
			break
		}
		w.begin(10)
	}
	if len(w.ends) != 10 {
		t.Errorf("%d ended", len(w.ends))
	}
	w.empty()
}

// The room that a limit key has was given to one that is cancelled before it begins.
func TestACancelledTaskPassesTheRoomOfItsLimitKeyOn(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.add(id, func(e *queue.Entry) { e.Meta.LimitKey = "k" })
	}
	w.begin(10)
	w.succeed("a")
	w.cancel("b")
	if got := w.begin(10); !slices.Equal(got, []string{"c"}) {
		t.Errorf("began %v", got)
	}
	w.succeed("c")
	w.empty()
}

// One that may run alone only was at the head of those that wait, and held up all that may run beside others.
func TestAKeyWithSeveralLimitsHoldsUpNobodyWhoFits(t *testing.T) {
	w := newWorld(t)
	add := func(id string, limit int) {
		w.add(id, func(e *queue.Entry) { e.Meta.LimitKey, e.Meta.LimitMax = "k", limit })
	}
	add("first", 3)
	add("second", 3)
	add("third", 3)
	w.begin(10)
	add("alone", 1)
	add("fourth", 3)
	add("pair", 2)
	w.succeed("first")
	if got := w.begin(10); !slices.Equal(got, []string{"fourth"}) {
		t.Fatalf("began %v", got)
	}
	w.succeed("second")
	w.succeed("third")
	if got := w.begin(10); !slices.Equal(got, []string{"pair"}) {
		t.Fatalf("began %v", got)
	}
	w.succeed("fourth")
	w.succeed("pair")
	if got := w.begin(10); !slices.Equal(got, []string{"alone"}) {
		t.Fatalf("began %v", got)
	}
	w.succeed("alone")
	w.empty()
}

func TestDelaysAndRetriesWait(t *testing.T) {
	w := newWorld(t)
	w.add("later", func(e *queue.Entry) { e.Meta.NotBefore = w.now.Add(time.Hour) })
	w.add("now", nil)
	if got := w.begin(10); !slices.Equal(got, []string{"now"}) {
		t.Errorf("began %v", got)
	}
	w.end("now", broken)
	if s := w.stands["now"]; s == nil || s.State != queue.Queued || s.Attempts != 1 || s.Fault.Code != "RunnerLost" || !s.RetryAt.Equal(w.now.Add(time.Second)) {
		t.Errorf("stands at %+v", s)
	}
	if at, some := w.machine.Wake(); !some || !at.Equal(w.now.Add(time.Second)) {
		t.Errorf("wakes at %v", at)
	}
	if got := w.begin(10); len(got) > 0 {
		t.Errorf("began %v before its time", got)
	}
	w.pass(time.Second)
	w.begin(10)
	w.succeed("now")
	w.pass(time.Hour)
	w.begin(10)
	w.succeed("later")
	if end := w.ends["now"]; end.Attempts != 2 || len(end.History) != 2 || end.History[0].Fault == nil || end.History[1].Token <= end.History[0].Token {
		t.Errorf("ended as %+v", end)
	}
	w.empty()
}

func TestAttemptsRunOut(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	for range 3 {
		w.begin(1)
		w.end("t", broken)
		w.pass(time.Minute)
	}
	w.expect("t", queue.Dead, "RunnerLost")
	w.add("rejected", nil)
	w.begin(1)
	w.end("rejected", Verdict{Fault: &queue.Fault{Code: "CannotStart"}, Rejected: true})
	w.expect("rejected", queue.Failed, "CannotStart")
	w.add("fails", nil)
	w.begin(1)
	w.end("fails", Verdict{Result: &queue.Result{Reason: "NonZeroExit"}})
	w.expect("fails", queue.Failed, "")
	w.empty()
}

// The room was given to one that waits for its class, while nobody ran with the key.
func TestALimitKeyIsNotHeldByAClassWithoutRoom(t *testing.T) {
	w := newWorld(t)
	keyed := func(class queue.Class) func(*queue.Entry) {
		return func(e *queue.Entry) { e.Meta.Class, e.Meta.LimitKey, e.Meta.LimitMax = class, "db", 1 }
	}
	w.add("first", keyed(queue.Short))
	w.begin(1)
	w.add("long", keyed(queue.Long))
	w.add("short", keyed(queue.Short))
	w.succeed("first")
	noLong := func(e queue.Entry) bool { return e.Meta.Class != queue.Long }
	got := w.machine.Pick(10, noLong)
	if len(got) != 1 || got[0].Task != "short" {
		t.Fatalf("picked %v", got)
	}
	w.start(got[0])
	w.succeed("short")
	w.begin(1)
	w.succeed("long")
	w.empty()
}
