package schedule

import (
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

func (w *world) spent(id string, want time.Duration) {
	w.t.Helper()
	task := w.machine.tasks[id]
	task.settleBudget(w.now)
	if task.spent != want {
		w.t.Errorf("%s has spent %v, want %v", id, task.spent, want)
	}
}

func budget(of time.Duration) func(*queue.Entry) {
	return func(e *queue.Entry) { e.Meta.Scope, e.Meta.BudgetMS = true, of.Milliseconds() }
}

// What ran when a leader died was forgotten, so that a budget lasted as long as leaders died often enough.
func TestABudgetPaysForWhatRanWhenItsLeaderDied(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(300*time.Second))
	w.add("inner", func(e *queue.Entry) { scope(e); childOf("s")(e) })
	w.add("t", childOf("inner"))
	w.begin(1)
	w.pass(100 * time.Second) // it is shown as running by now
	w.led = w.now
	w.pass(10 * time.Second) // nobody led
	w.takeover()
	w.spent("s", 100*time.Second)
	w.pass(time.Hour) // it waits, and the next leader dies, too
	w.takeover()
	w.spent("s", 100*time.Second)
	w.begin(1)
	w.pass(199 * time.Second)
	w.takeover()
	w.spent("s", 299*time.Second)
	w.begin(1)
	w.pass(time.Second)
	if w.stopped["t"] != "BudgetExceeded" {
		t.Fatalf("stopped: %v", w.stopped)
	}
	w.end("t", broken)
	w.expect("s", queue.Failed, "BudgetExceeded")
	w.empty()
}

func TestABudgetThatIsSpentWhenItsLeaderDiesEndsWithTheNext(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(100*time.Second))
	w.add("t", childOf("s"))
	w.begin(1)
	w.pass(90 * time.Second)
	w.now = w.now.Add(20 * time.Second)
	w.takeover()
	w.expect("t", queue.Failed, "BudgetExceeded")
	w.expect("s", queue.Failed, "BudgetExceeded")
	w.empty()
}

// It goes on while nobody leads, and the time until it is found again counts.
func TestABudgetPaysForAJobThatGoesOnWithoutALeader(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(time.Hour))
	w.add("job", func(e *queue.Entry) { childOf("s")(e); e.Meta.Backend = queue.SlurmBackend })
	w.begin(1)
	w.pass(100 * time.Second)
	w.led = w.now
	w.pass(50 * time.Second)
	w.takeover()
	w.spent("s", 150*time.Second)
	w.begin(1)
	w.pass(10 * time.Second)
	w.takeover()
	w.spent("s", 160*time.Second)
	w.begin(1)
	w.succeed("job")
	w.close("s")
	w.empty()
}

// Their times were in the standings of the parents alone, or of nobody.
func TestABudgetPaysForWhatHasEndedOrFailedBelow(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(time.Hour))
	w.add("inner", func(e *queue.Entry) { scope(e); childOf("s")(e) })
	w.add("ends", childOf("inner"))
	w.add("fails", childOf("inner"))
	w.begin(10)
	w.pass(10 * time.Second)
	w.succeed("ends")
	w.pass(10 * time.Second)
	w.end("fails", broken)
	w.takeover()
	w.spent("s", 30*time.Second)
	w.pass(time.Second)
	w.begin(1)
	w.succeed("fails")
	w.close("inner")
	w.close("s")
	w.empty()
}

// It waited in Slurm's queue, for longer than the budget was.
func TestABudgetPaysForNothingThatWaitsForAPlace(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(100*time.Second))
	w.add("job", func(e *queue.Entry) { childOf("s")(e); e.Meta.Backend = queue.SlurmBackend })
	for _, e := range w.machine.Pick(1, func(queue.Entry) bool { return true }) {
		w.running[e.Task] = w.machine.Begun(w.now, e.Task, w.term.Token)
	}
	w.pass(time.Hour)
	w.spent("s", 0)
	for range 2 { // the second time is a restart of the same attempt
		w.machine.Placed(w.now, "job", "here")
		w.pass(40 * time.Second)
	}
	w.spent("s", 80*time.Second)
	w.succeed("job")
	w.pass(time.Hour)
	w.spent("s", 80*time.Second)
	w.close("s")
	w.empty()
}

// What ran from then on was charged as a part of the time without a leader, too.
func TestABudgetPaysOnceForAJobThatIsFoundWhileTheQueueIsTakenOver(t *testing.T) {
	w := newWorld(t)
	w.add("s", budget(time.Hour))
	w.add("job", func(e *queue.Entry) { childOf("s")(e); e.Meta.Backend = queue.SlurmBackend })
	w.begin(1)
	w.pass(100 * time.Second)
	w.lead()
	for _, id := range []string{"1-0", "2-0"} {
		w.reread(id)
	}
	w.pass(time.Second)
	w.begin(1)
	w.pass(9 * time.Second)
	w.machine.Adopted(w.now)
	w.settle()
	w.spent("s", 110*time.Second)
	w.succeed("job")
	w.close("s")
	w.empty()
}
