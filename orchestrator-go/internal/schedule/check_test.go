package schedule

import (
	"slices"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// move appends a task's entry to the log again, before anybody has read it there.
func (w *world) move(id string) {
	for _, c := range w.machine.Move(time.UnixMilli(1<<40), 1000) {
		if c.Task == id {
			w.appendAgain(*c.Move)
		}
	}
}

// appendAgain appends an entry behind all others, and returns its id there.
func (w *world) appendAgain(e queue.Entry) string {
	w.entries++
	e.ID, e.Standing = entryID(w.entries), nil
	w.log[e.ID], w.ever[e.ID] = e, e
	return e.ID
}

func loser(e *queue.Entry) { e.Generation = "loser" }

// The entry that won was appended again, behind the one that lost, which the leader before had no time to settle. The
// task was lost: its own entry was taken for the loser.
func TestTheEntryThatLostMayComeFirst(t *testing.T) {
	for name, picks := range map[string]bool{"and is cancelled": false, "and begins": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("t", nil)
			w.begin(1)
			w.add("child", func(e *queue.Entry) { childOf("t")(e); e.Meta.NotBefore = w.now.Add(time.Hour) })
			w.dies, w.last = true, 0
			w.add("t", loser)
			w.move("t")
			w.takeover()
			if !picks {
				w.cancel("t")
				w.expect("t", queue.Cancelled, "")
				w.expect("child", queue.Cancelled, "ParentEnded")
				w.empty()
				return
			}
			if got := w.begin(1); !slices.Equal(got, []string{"t"}) || w.running["t"] != 2 {
				t.Fatalf("began %v: %v", got, w.running)
			}
			w.succeed("t")
			w.open("t", "child")
			w.pass(time.Hour)
			w.begin(1)
			w.succeed("child")
			if got := w.ends["t"].Children; got != (queue.Children{Succeeded: 1}) {
				t.Errorf("its children: %+v", got)
			}
			w.expect("t", queue.Succeeded, "")
			w.empty()
		})
	}
}

// While a queue is taken over, the entry that asks for a task may be yet to come.
func TestNothingIsDroppedBeforeAllIsRead(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	w.begin(1)
	w.add("child", childOf("t"))
	w.dies, w.last = true, 0
	w.add("t", loser)
	w.move("t")
	w.lead()
	for i := range w.entries + 1 {
		if e, found := w.log[entryID(i)]; found {
			w.machine.Admit(w.now, e)
			w.begin(10)
		}
	}
	w.machine.Adopted(w.now)
	w.settle()
	w.begin(10)
	w.open("t", "child")
	w.succeed("t")
	w.succeed("child")
	w.expect("t", queue.Succeeded, "")
	w.empty()
}

// Its end is recorded, and it comes again in a reply that was late. It was cancelled before anybody had asked for it,
// which its parent counted.
func TestAnEndOfAStaleEntryIsNone(t *testing.T) {
	for name, end := range map[string]func(*world){
		"cancelled": func(w *world) {
			w.machine.Admit(w.now, queue.Entry{ID: "9-9", Op: queue.OpCancel, Task: "c"})
		},
		"past its deadline": func(w *world) { w.now = w.now.Add(time.Hour); w.machine.Tick(w.now) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("s", scope)
			w.add("c", func(e *queue.Entry) { childOf("s")(e); e.Meta.Deadline = w.now.Add(time.Minute) })
			w.begin(1)
			w.succeed("c")
			w.machine.Admit(w.now, w.ever["2-0"])
			end(w)
			w.settle()
			w.close("s")
			w.expect("s", queue.Succeeded, "")
			if got := w.ends["s"].Children; got != (queue.Children{Succeeded: 1}) {
				t.Errorf("its children: %+v", got)
			}
			w.empty()
		})
	}
}

// A late reply brought the place in the log that a task had before its entry was appended again, and that was taken for
// the newer one: nothing was left in the log of a task that had not ended.
func TestAnEntryThatWasAppendedAgainStays(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	w.move("t")
	w.machine.Admit(w.now, w.log["2-0"])
	w.settle()
	w.reread("1-0")
	w.takeover()
	if got := w.begin(1); !slices.Equal(got, []string{"t"}) {
		t.Errorf("began %v", got)
	}
	w.succeed("t")
	w.empty()
}

// The attempt was counted on the entry that had been moved already: the next leader did not know of it.
func TestAnAttemptThatBeginsWhileItsEntryIsMovedCounts(t *testing.T) {
	for name, begun := range map[string]bool{"and is begun before it is read": true, "and is being begun then": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.add("t", func(e *queue.Entry) { e.Meta.MaxAttempts = 1 })
			w.move("t")
			picked := w.machine.Pick(1, func(queue.Entry) bool { return true })
			if begun {
				w.start(picked[0])
			}
			w.reread("2-0")
			if !begun {
				w.start(picked[0])
			}
			w.settle()
			if begun {
				w.move("t") // once more, and for good
				w.reread("3-0")
			}
			if len(w.log) != 1 {
				t.Errorf("in the log: %v", w.log)
			}
			w.takeover()
			w.expect("t", queue.Dead, "LeaseExpired")
			w.empty()
		})
	}
}

// The leader died when it had begun an attempt on the newer entry, and had not settled the older one.
func TestAnAttemptThatBeganOnAMovedEntryCounts(t *testing.T) {
	w := newWorld(t)
	w.add("t", func(e *queue.Entry) { e.Meta.MaxAttempts = 1 })
	w.dies, w.last = true, 0
	w.move("t")
	w.reread("2-0")
	w.begin(1)
	w.log["1-0"] = w.ever["1-0"]
	moved := w.log["2-0"]
	moved.Begun = 1
	w.machine = New(w.machine.opt)
	w.machine.Admit(w.now, w.log["1-0"])
	if !moved.BegunSince() {
		t.Fatal("its attempt is not seen")
	}
	w.machine.Admit(w.now, moved)
	w.dies, w.running = false, map[string]int{}
	w.machine.Adopted(w.now)
	w.settle()
	w.expect("t", queue.Dead, "LeaseExpired")
	w.empty()
}

// A dead letter's entry was read once more. Its end was recorded as where the task stands that had been put back since.
func TestAStaleEntryIsNotRecorded(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.owners["c"] = "put back"
	w.machine.Admit(w.now, queue.Entry{ID: "9-0", Task: "c", Begun: 1, Meta: queue.Meta{Class: queue.Short, Parent: "s", MaxAttempts: 1}})
	for _, c := range w.machine.Drain(w.now, 10, 1<<20) {
		if c.Task == "c" {
			t.Errorf("recorded: %+v", c)
		}
		w.apply(c)
	}
	w.settle()
	w.close("s")
	w.expect("s", queue.Succeeded, "")
	w.empty()
}

// Its attempt is no further one for the next leader, and is no less one that may go on.
func TestAJobThatMayGoOnIsKnownAfterItsEntryWasMoved(t *testing.T) {
	w := newWorld(t)
	w.add("job", func(e *queue.Entry) { e.Meta.Backend, e.Meta.MaxAttempts = queue.SlurmBackend, 1 })
	w.begin(1)
	w.takeover()
	w.move("job")
	w.reread("2-0")
	if _, old := w.log["1-0"]; old || len(w.log) != 1 {
		t.Errorf("in the log: %v", w.log)
	}
	w.takeover()
	w.holds = true
	w.cancel("job")
	if !slices.Equal(w.strays, []string{"job"}) {
		t.Errorf("what may go on: %v", w.strays)
	}
	w.reap()
	w.settle()
	w.expect("job", queue.Cancelled, "")
	w.empty()
}

// It was settled already, and was taken for the task's entry when it came again in a reply that was late.
func TestAnEntryThatWasAppendedInVainStaysSettled(t *testing.T) {
	w := newWorld(t)
	w.add("t", nil)
	w.move("t")
	w.machine.Pick(1, func(queue.Entry) bool { return true })
	w.reread("2-0")
	w.machine.NotBegun(w.now, "t")
	w.settle()
	w.reread("2-0")
	w.takeover()
	if got := w.begin(1); !slices.Equal(got, []string{"t"}) {
		t.Errorf("began %v", got)
	}
	w.succeed("t")
	w.empty()
}

func TestOnlyTheFirstAttemptOfAllLeadersIsFresh(t *testing.T) {
	w := newWorld(t)
	w.add("job", func(e *queue.Entry) { e.Meta.Backend = queue.SlurmBackend })
	for _, want := range []bool{true, false} {
		picked := w.machine.Pick(1, func(queue.Entry) bool { return true })
		if len(picked) != 1 || w.machine.Fresh("job") != want {
			t.Errorf("picked %v, want it fresh: %v", picked, want)
		}
		w.start(picked[0])
		w.takeover()
	}
	w.begin(1)
	w.succeed("job")
	w.empty()
}
