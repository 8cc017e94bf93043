package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

func childOf(parent string) func(*queue.Entry) {
	return func(e *queue.Entry) { e.Meta.Parent = parent }
}

func scope(e *queue.Entry) { e.Meta.Scope = true }

func TestAParentEndsAfterItsChildren(t *testing.T) {
	w := newWorld(t)
	w.add("p", nil)
	w.begin(1)
	w.add("c1", childOf("p"))
	w.add("c2", childOf("p"))
	w.succeed("p")
	w.open("p", "c1", "c2")
	if s := w.stands["p"]; s == nil || s.State != queue.Waiting || s.Own.State != queue.Succeeded || s.Children.Open != 2 {
		t.Errorf("the parent stands at %+v", s)
	}
	w.begin(10)
	w.end("c1", Verdict{Result: &queue.Result{Reason: "NonZeroExit"}})
	w.open("p")
	w.succeed("c2")
	w.expect("p", queue.Succeeded, "")
	if got := w.ends["p"].Children; got != (queue.Children{Succeeded: 1, Failed: 1}) {
		t.Errorf("its children: %+v", got)
	}
	w.empty()
}

func TestAScopeEndsWhenItIsClosedAndItsChildrenHaveEnded(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.add("c", childOf("s"))
	if got := w.begin(10); !slices.Equal(got, []string{"c"}) {
		t.Errorf("began %v", got)
	}
	w.succeed("c")
	w.open("s")
	w.close("s")
	w.expect("s", queue.Succeeded, "")
	w.add("late", childOf("s"))
	w.expect("late", queue.Cancelled, "ParentEnded")
	w.empty()
}

func TestCancellingGoesDown(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.add("queued", childOf("s"))
	w.add("running", childOf("s"))
	w.add("inner", func(e *queue.Entry) { scope(e); childOf("s")(e) })
	w.add("deep", childOf("inner"))
	w.begin(1)
	if w.running["queued"] != 1 {
		t.Fatal("the oldest did not begin")
	}
	w.cancel("s")
	w.expect("deep", queue.Cancelled, "ParentEnded")
	w.expect("running", queue.Cancelled, "ParentEnded")
	w.expect("inner", queue.Cancelled, "ParentEnded")
	w.open("s", "queued")
	if w.stopped["queued"] != "ParentEnded" {
		t.Errorf("stopped: %v", w.stopped)
	}
	w.succeed("queued") // it came to its end before it was stopped; nobody wants it
	w.expect("queued", queue.Cancelled, "ParentEnded")
	w.expect("s", queue.Cancelled, "")
	w.empty()
}

func TestAParentThatFailsEndsItsChildren(t *testing.T) {
	w := newWorld(t)
	w.add("p", nil)
	w.begin(1)
	w.add("c", childOf("p"))
	w.end("p", Verdict{Result: &queue.Result{Reason: "NonZeroExit"}})
	w.expect("c", queue.Cancelled, "ParentEnded")
	w.expect("p", queue.Failed, "")
	w.empty()
}

func TestDeadlinesAreInherited(t *testing.T) {
	w := newWorld(t)
	at := w.now.Add(time.Minute)
	w.add("s", func(e *queue.Entry) { scope(e); e.Meta.Deadline = at })
	w.add("running", childOf("s"))
	w.add("later", func(e *queue.Entry) { childOf("s")(e); e.Meta.NotBefore = at.Add(time.Hour) })
	w.begin(10)
	w.pass(59 * time.Second)
	w.open("s", "running", "later")
	w.pass(time.Second)
	w.expect("later", queue.Failed, "DeadlineExceeded")
	if w.stopped["running"] != "DeadlineExceeded" {
		t.Errorf("stopped: %v", w.stopped)
	}
	w.end("running", broken)
	w.expect("running", queue.Failed, "DeadlineExceeded")
	w.expect("s", queue.Failed, "DeadlineExceeded")
	w.empty()
}

func TestABudgetIsSharedWithDescendants(t *testing.T) {
	w := newWorld(t)
	w.add("s", func(e *queue.Entry) { scope(e); e.Meta.BudgetMS = 10_000 })
	w.add("inner", func(e *queue.Entry) { scope(e); childOf("s")(e) })
	w.add("a", childOf("s"))
	w.add("b", childOf("inner"))
	w.begin(10)
	w.pass(3 * time.Second) // 6 s of 10
	w.succeed("a")
	w.pass(3900 * time.Millisecond)
	w.open("s", "b")
	w.pass(200 * time.Millisecond)
	if w.stopped["b"] != "BudgetExceeded" {
		t.Fatalf("stopped: %v after %v", w.stopped, w.machine.tasks["s"].spent)
	}
	w.end("b", broken)
	w.expect("b", queue.Failed, "BudgetExceeded")
	w.expect("s", queue.Failed, "BudgetExceeded")
	if spent := w.ends["s"].SpentMS; spent != 10_100 {
		t.Errorf("spent %d ms", spent)
	}
	w.empty()
}

func TestTheNextLeaderGoesOn(t *testing.T) {
	w := newWorld(t)
	w.add("s", func(e *queue.Entry) { scope(e); e.Meta.BudgetMS = 10_000 })
	w.add("done", childOf("s"))
	w.add("p", childOf("s"))
	w.begin(10)
	w.add("c", childOf("p"))
	w.pass(time.Second)
	w.succeed("done")
	w.succeed("p")
	w.close("s")
	w.takeover()
	w.open("s", "p", "c")
	if got := w.begin(10); !slices.Equal(got, []string{"c"}) {
		t.Errorf("the next leader began %v", got)
	}
	w.succeed("c")
	w.expect("p", queue.Succeeded, "")
	w.expect("s", queue.Succeeded, "")
	if got := w.ends["s"]; got.Children != (queue.Children{Succeeded: 2}) || got.SpentMS != 2000 {
		t.Errorf("the scope ended as %+v", got)
	}
	w.empty()
}

func TestAnAttemptThatItsLeaderDiedOfCounts(t *testing.T) {
	w := newWorld(t)
	w.add("poison", nil)
	w.add("slurm", func(e *queue.Entry) { e.Meta.Backend = queue.SlurmBackend })
	for range 3 {
		w.begin(10)
		w.takeover()
	}
	w.expect("poison", queue.Dead, "LeaseExpired")
	w.begin(10)
	if w.running["slurm"] != 1 { // it never stopped
		t.Errorf("running: %v", w.running)
	}
	w.succeed("slurm")
	w.empty()
}

func TestACancellationOutlastsItsLeader(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	w.begin(1)
	w.cancel("t")
	w.open("t")
	w.takeover()
	w.expect("t", queue.Cancelled, "")
	w.empty()
}

// Its job went on, and nobody knew of it any more.
func TestWhatAnEarlierLeaderLeftEndsBeforeItsTask(t *testing.T) {
	w := newWorld(t)
	slurm := func(e *queue.Entry) { e.Meta.Backend = queue.SlurmBackend }
	w.add("cancelled", slurm)
	w.add("retried", slurm)
	w.add("unbegun", nil)
	w.add("s", scope)
	w.add("child", func(e *queue.Entry) { e.Meta.Backend, e.Meta.Parent = queue.SlurmBackend, "s" })
	w.begin(1)
	w.holds = true
	w.cancel("cancelled")
	w.begin(10)
	w.end("retried", broken) // Slurm did not answer
	w.cancel("s")
	w.takeover()
	w.cancel("retried")
	w.cancel("unbegun")
	w.open("cancelled", "retried", "child", "s")
	w.expect("unbegun", queue.Cancelled, "")
	w.takeover() // this leader dies of it, too
	if slices.Sort(w.strays); !slices.Equal(w.strays, []string{"cancelled", "child", "retried"}) {
		t.Errorf("to end first: %v", w.strays)
	}
	if got := w.begin(10); len(got) > 0 {
		t.Errorf("began %v", got)
	}
	w.holds = false
	w.settle()
	w.settle()
	for _, id := range []string{"cancelled", "retried", "s"} {
		w.expect(id, queue.Cancelled, "")
	}
	w.expect("child", queue.Cancelled, "ParentEnded")
	w.empty()
}

func TestAnAttemptThatWasBrokenOffSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	w.begin(1)
	w.cancel("t")
	w.end("t", Verdict{Fault: &queue.Fault{Code: "InfrastructureFault"}})
	w.expect("t", queue.Cancelled, "")
	if h := w.ends["t"].History; len(h) != 1 || h[0].Fault.Code != "Cancelled" {
		t.Errorf("its attempts: %+v", h)
	}
}

// The entry of a parent may have been appended again, behind its children's.
func TestChildrenMayComeBeforeTheirParent(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.add("c", childOf("s"))
	moves := w.machine.Move(time.UnixMilli(1<<40), 10)
	if len(moves) != 2 {
		t.Fatalf("%d to be moved", len(moves))
	}
	for _, c := range moves {
		if e := *c.Move; e.Task == "s" {
			delete(w.log, e.ID)
			w.add("s", func(moved *queue.Entry) { moved.Meta = e.Meta })
		}
	}
	w.takeover()
	w.open("s", "c")
	w.begin(1)
	w.succeed("c")
	w.close("s")
	w.expect("s", queue.Succeeded, "")
	w.empty()
}

func TestAStaleEntryLeavesNoTrace(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.add("c", childOf("s"))
	picked := w.machine.Pick(1, func(queue.Entry) bool { return true })
	w.machine.Stale(w.now, picked[0].Task)
	w.settle()
	w.open("c")
	w.close("s")
	w.expect("s", queue.Succeeded, "")
	w.add("t", nil)
	w.add("t", func(e *queue.Entry) { e.Generation = "loser" })
	w.begin(1)
	w.succeed("t")
	w.empty()
}

// Its end can be read in the store before the leader hears that it is there.
func TestADeadLetterMayBePutBackBeforeItsEndIsKnownToBeRecorded(t *testing.T) {
	w := newWorld(t)
	w.add("t", func(e *queue.Entry) { e.Meta.MaxAttempts = 1 })
	w.begin(1)
	w.machine.Ended(w.now, "t", broken)
	changes := w.machine.Drain(w.now, 10, 1<<20)
	for _, c := range changes {
		w.apply(c)
	}
	w.expect("t", queue.Dead, "RunnerLost")
	w.entries++
	revived := queue.Entry{ID: entryID(w.entries), Task: "t", Generation: "2", Meta: queue.Meta{MaxAttempts: 1}}
	w.log[revived.ID], w.owners["t"] = revived, "2"
	w.machine.Admit(w.now, revived)
	w.machine.Recorded(w.now, changes)
	delete(w.ends, "t")
	if got := w.begin(1); !slices.Equal(got, []string{"t"}) {
		t.Fatalf("began %v", got)
	}
	w.running = map[string]int{"t": 1}
	w.succeed("t")
	w.expect("t", queue.Succeeded, "")
	w.empty()
}

// The children of a task whose parent had ended were admitted before it, in one order of many, as nobody's.
func TestAFamilyThatCameTooLateEndsFromBelow(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		w.dies, w.last = true, 0 // before it has read any of them
		w.add("late", func(e *queue.Entry) { scope(e); childOf("gone")(e) })
		w.add("inner", func(e *queue.Entry) { scope(e); childOf("late")(e) })
		w.add("deep", childOf("inner"))
		w.takeover()
		for _, id := range []string{"late", "inner", "deep"} {
			w.expect(id, queue.Cancelled, "ParentEnded")
		}
		if a, b := w.ends["late"].Children, w.ends["inner"].Children; a.Failed != 1 || b.Failed != 1 {
			t.Fatalf("their children: %+v, %+v", a, b)
		}
		w.empty()
	}
}

// A batch of full results did not reach the store in its time, however often it was sent.
func TestResultsAreRecordedInPiecesThatFit(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.add(fmt.Sprint("t", i), nil)
	}
	w.begin(5)
	for i := range 5 {
		w.machine.Ended(w.now, fmt.Sprint("t", i), Verdict{Result: &queue.Result{Reason: "Completed", Stdout: "0123456789"}})
	}
	for _, want := range []int{2, 2, 1} {
		changes := w.machine.Drain(w.now, 10, 15)
		for _, c := range changes {
			w.apply(c)
		}
		w.machine.Recorded(w.now, changes)
		if len(changes) != want {
			t.Errorf("%d are recorded at once, want %d", len(changes), want)
		}
	}
	w.empty()
}
