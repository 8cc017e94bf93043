package schedule

import (
	"fmt"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// world drives a machine as the dispatcher does, with a clock and a store of its own.
type world struct {
	t       reporter
	onEnd   func(task string, out queue.Outcome) // as it is recorded; may be nil
	machine *Machine
	now     time.Time
	term    queue.Term
	entries int
	log     map[string]queue.Entry     // that are not settled, by id
	ever    map[string]queue.Entry     // all that there were
	owners  map[string]string          // the generations that the store has, by task
	ends    map[string]queue.Outcome   // by task
	stands  map[string]*queue.Standing // by task
	running map[string]int             // attempt numbers, by task
	stopped map[string]string          // codes, by task
	order   []string                   // tasks, as they began
	strays  []string                   // tasks of which something may go on
	holds   bool                       // what may go on goes on
	dies    bool                       // the leader, after
	last    int                        // so many further transactions
	led     time.Time                  // when the leader was last known to lead, if it is not known to now
}

// reporter is what a world needs of a test, be it one of package testing or of rapid.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

func newWorld(t *testing.T) *world { return newWorldOf(t) }

func newWorldOf(t reporter) *world {
	w := &world{
		t: t, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), log: map[string]queue.Entry{}, ever: map[string]queue.Entry{}, ends: map[string]queue.Outcome{},
		owners: map[string]string{}, stands: map[string]*queue.Standing{}, running: map[string]int{}, stopped: map[string]string{},
	}
	w.lead()
	w.machine.Adopted(w.now)
	return w
}

// lead begins a term without anything in it.
func (w *world) lead() {
	led := w.now
	if !w.led.IsZero() {
		led = w.led
	}
	w.dies, w.led = false, time.Time{}
	w.term.Epoch++
	w.running, w.stopped, w.strays = map[string]int{}, map[string]string{}, nil
	w.machine = New(Options{
		Backoff:      func(attempt int) time.Duration { return time.Duration(attempt) * time.Second },
		PublishAfter: time.Minute, Resumes: func(backend string) bool { return backend == queue.SlurmBackend },
		LedUntil: led,
	})
}

// takeover begins a term with what the log holds, as after a crash.
func (w *world) takeover() {
	w.lead()
	for i := range w.entries + 1 {
		if e, found := w.log[entryID(i)]; found {
			e.Standing = w.stands[e.Task]
			w.machine.Admit(w.now, e)
			w.settle()
		}
	}
	w.machine.Adopted(w.now)
	w.settle()
}

func entryID(i int) string { return fmt.Sprintf("%d-0", i) }

// add appends an entry to the log and admits it.
func (w *world) add(id string, change func(*queue.Entry)) {
	w.entries++
	e := queue.Entry{ID: entryID(w.entries), Task: id, Meta: queue.Meta{Class: queue.Short, MaxAttempts: 3}}
	if change != nil {
		change(&e)
	}
	if _, found := w.owners[id]; !found && e.Op == queue.OpTask {
		w.owners[id] = e.Generation
	}
	w.log[e.ID], w.ever[e.ID] = e, e
	w.machine.Admit(w.now, e)
	w.settle()
}

// reread has an entry read that was in the log at some time, as in a reply that comes late.
func (w *world) reread(id string) {
	e := w.ever[id]
	e.Standing = w.stands[e.Task]
	w.machine.Admit(w.now, e)
	w.settle()
}

// wanted says what the store does: whether an entry asks for its task.
func (w *world) wanted(e queue.Entry) bool {
	owner, found := w.owners[e.Task]
	_, ended := w.ends[e.Task]
	return found && owner == e.Generation && !ended
}

func (w *world) cancel(id string) { w.add(id, func(e *queue.Entry) { e.Op = queue.OpCancel }) }
func (w *world) close(id string)  { w.add(id, func(e *queue.Entry) { e.Op = queue.OpClose }) }

// begin begins up to n attempts, and returns whose.
func (w *world) begin(n int) []string {
	w.machine.Tick(w.now)
	w.settle()
	var began []string
	for _, e := range w.machine.Pick(n, func(queue.Entry) bool { return true }) {
		if w.start(e) {
			began = append(began, e.Task)
		}
	}
	w.order = append(w.order, began...)
	w.settle()
	return began
}

// start begins a picked task's attempt; it reports false when nobody wants it.
func (w *world) start(e queue.Entry) bool {
	if stored, found := w.log[e.ID]; found {
		stored.Begun = e.Begun + 1
		w.log[e.ID], w.ever[e.ID] = stored, stored
	}
	if !w.wanted(e) {
		w.machine.Stale(w.now, e.Task)
		return false
	}
	number := w.machine.Begun(w.now, e.Task, w.term.Token)
	if number == 0 {
		return false
	}
	w.machine.Placed(w.now, e.Task, "here")
	w.running[e.Task] = number
	return true
}

func (w *world) end(id string, v Verdict) {
	if _, runs := w.running[id]; !runs {
		w.t.Fatalf("%s does not run", id)
	}
	delete(w.running, id)
	w.machine.Ended(w.now, id, v)
	w.settle()
}

func (w *world) succeed(id string) { w.end(id, Verdict{}) }

func (w *world) pass(d time.Duration) {
	w.now = w.now.Add(d)
	w.machine.Tick(w.now)
	w.settle()
}

// settle carries out what the machine decided.
func (w *world) settle() {
	w.recount()
	defer w.recount()
	for _, s := range w.machine.Stops() {
		if s.Stray {
			w.strays = append(w.strays, s.Task)
			continue
		}
		w.stopped[s.Task] = s.Why
	}
	if !w.holds {
		w.reap()
	}
	for {
		checks := w.machine.Checks(2)
		for _, e := range checks {
			w.machine.Checked(w.now, e, w.wanted(e))
		}
		if w.dies && w.last == 0 {
			return
		}
		changes := w.machine.Drain(w.now, 1, 1)
		if len(changes) == 0 && len(checks) == 0 {
			return
		}
		if len(changes) > 0 {
			w.last--
		}
		for _, c := range changes {
			w.apply(c)
		}
		w.machine.Recorded(w.now, changes)
	}
}

// reap ends what goes on of tasks that are to end.
func (w *world) reap() {
	for len(w.strays) > 0 {
		id := w.strays[0]
		w.strays = w.strays[1:]
		w.machine.Gone(w.now, id)
	}
}

func (w *world) apply(c queue.Change) {
	if c.Outcome != nil {
		if before, ended := w.ends[c.Task]; ended {
			w.t.Errorf("%s ended as %s, and again as %s", c.Task, before.State, c.Outcome.State)
		}
		w.ends[c.Task] = *c.Outcome
		if w.onEnd != nil {
			w.onEnd(c.Task, *c.Outcome)
		}
		delete(w.stands, c.Task)
	}
	if _, ended := w.ends[c.Task]; c.Standing != nil && !ended {
		w.stands[c.Task] = c.Standing
	}
	for _, id := range c.Settled {
		delete(w.log, id)
	}
}

func (w *world) expect(id string, state queue.State, code string) {
	w.t.Helper()
	end, ended := w.ends[id]
	if !ended {
		w.t.Errorf("%s has not ended, want %s", id, state)
		return
	}
	got := ""
	if end.Fault != nil {
		got = end.Fault.Code
	}
	if end.State != state || got != code {
		w.t.Errorf("%s ended as %s %q, want %s %q", id, end.State, got, state, code)
	}
}

func (w *world) open(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if end, ended := w.ends[id]; ended {
			w.t.Errorf("%s ended as %s", id, end.State)
		}
	}
}

// empty checks that nothing is left of anything.
func (w *world) empty() {
	w.t.Helper()
	m := w.machine
	if len(m.tasks) > 0 || len(m.keys) > 0 || len(w.log) > 0 || len(w.stands) > 0 {
		w.t.Errorf("left: %d tasks, %d keys, %d entries, %d standings", len(m.tasks), len(m.keys), len(w.log), len(w.stands))
	}
	for _, lane := range m.lanes.order {
		if lane.ready != 0 || lane.running != 0 || len(lane.tenants) != 0 || len(lane.waiting) != 0 {
			w.t.Errorf("left in a lane: %+v", lane)
		}
	}
}

var broken = Verdict{Fault: &queue.Fault{Code: "RunnerLost"}}
