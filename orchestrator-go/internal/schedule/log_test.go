package schedule

import (
	"fmt"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Many standings wait to be recorded: the request to close was settled before the standing that says so.
func TestACloseIsSettledWithTheStandingThatSaysSo(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		id := fmt.Sprint("s", i)
		w.add(id, scope)
		w.entries++
		e := queue.Entry{ID: entryID(w.entries), Task: id, Op: queue.OpClose}
		w.log[e.ID] = e
	}
	for i := range 50 {
		w.add(fmt.Sprint("c", i), childOf(fmt.Sprint("s", i)))
	}
	for i := range w.entries + 1 {
		if e, found := w.log[entryID(i)]; found && e.Op == queue.OpClose {
			w.machine.Admit(w.now, e)
		}
	}
	for _, c := range w.machine.Drain(w.now, 3, 1<<20) { // the leader dies after this transaction
		w.apply(c)
	}
	w.takeover()
	for len(w.begin(50)) > 0 {
		for id := range w.running {
			w.succeed(id)
		}
	}
	for i := range 50 {
		w.expect(fmt.Sprint("s", i), queue.Succeeded, "")
	}
	w.empty()
}

func TestAChildsEndIsRecordedWithItsParentsCount(t *testing.T) {
	w := newWorld(t)
	for i := range 50 {
		w.add(fmt.Sprint("s", i), scope)
		w.add(fmt.Sprint("c", i), childOf(fmt.Sprint("s", i)))
	}
	for i := range 50 {
		w.add(fmt.Sprint("d", i), childOf(fmt.Sprint("s", i)))
	}
	w.begin(50)
	for i := range 50 {
		w.machine.dirty[w.machine.tasks[fmt.Sprint("d", i)]] = struct{}{}
	}
	for i := range 50 {
		w.machine.Ended(w.now, fmt.Sprint("c", i), Verdict{})
	}
	for _, c := range w.machine.Drain(w.now, 3, 1<<20) { // the leader dies after this transaction
		w.apply(c)
	}
	for id := range w.ends {
		if s := w.stands["s"+id[1:]]; s == nil || s.Children.Succeeded != 1 {
			t.Errorf("%s has ended, and its parent stands at %+v", id, s)
		}
	}
}

// The entry of a task that takes long is appended again, behind the requests about it.
func TestARequestMayComeBeforeItsTask(t *testing.T) {
	w := newWorld(t)
	w.add("s", scope)
	w.add("t", childOf("s"))
	w.begin(1)
	w.cancel("s")
	w.open("s", "t")
	for _, c := range w.machine.Move(time.UnixMilli(1<<40), 10) {
		e := *c.Move
		delete(w.log, e.ID)
		w.add(e.Task, func(moved *queue.Entry) { moved.Meta, moved.Begun = e.Meta, e.Begun })
	}
	w.takeover()
	w.expect("t", queue.Cancelled, "ParentEnded")
	w.expect("s", queue.Cancelled, "")
	w.empty()
}
