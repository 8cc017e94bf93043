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
		if e := *c.Move; e.Task == id {
			delete(w.log, e.ID)
			w.entries++
			e.ID, e.Standing = entryID(w.entries), nil
			w.log[e.ID], w.ever[e.ID] = e, e
		}
	}
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
