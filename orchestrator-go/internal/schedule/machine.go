// Package schedule decides, in memory and without any input or output, what the queue's leader does next: which task
// begins an attempt, which attempt is broken off, and what is to be recorded.
//
// A [Machine] is told what happens (Admit, Begun, Ended, Tick and so on) and asked what to do (Pick, Drain). Time is
// an argument, so that a test can run a day in a millisecond.
//
//	                 ┌─ delayed ─┐   Pick              Ended
//	Admit ───────────┤  parked   ├─ ready ── beginning ── running ──┬── waiting ── ending ── (recorded: forgotten)
//	                 └───────────┘     ▲                            │   for its children
//	                                   └── delayed: a retry ────────┘
//
// Order: classes and backends take turns (lane.go), tenants share a lane evenly (tenant.go), and among a tenant's
// tasks the highest priority goes first, then the oldest.
package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Options are the settings of a Machine.
type Options struct {
	// Backoff is how long to wait after an attempt, counted from 1, has failed.
	Backoff func(attempt int) time.Duration
	// PublishAfter is how long an attempt runs before the store shows it as running.
	PublishAfter time.Duration
	// Resumes says whether a backend finds an attempt again that a former leader began: that one is then no new attempt.
	Resumes func(backend string) bool
	// LedUntil is when the leader before was last known to lead; zero when nobody knows.
	LedUntil time.Time
}

// Machine holds every task that has not ended. It is not safe for concurrent use.
type Machine struct {
	opt     Options
	tasks   map[string]*task
	tallies map[Share]*tally
	lanes   lanes
	keys    map[string]*limitKey
	seq     uint64 // of admissions

	timers  timers
	ages    ages
	starts  []*task // running, in the order of their starts, to be published
	ends    []*task // whose ends are to be recorded
	dirty   map[*task]struct{}
	stops   []Stop
	settled []string // entries that ask for nothing
	checks  []*task  // whose entries the store is to be asked about

	adopting bool
	orphans  map[string][]queue.Entry // whose parents have not been adopted yet
	requests map[string][]queue.Entry // about tasks that have not been adopted yet
}

// Stop is an attempt to be broken off.
type Stop struct {
	Task string
	Why  string // a code: Cancelled, DeadlineExceeded, BudgetExceeded, ParentEnded
	// Stray says that no attempt of this leader's is meant, but what an earlier one may have left on this backend: it
	// still comes to its Gone.
	Stray   bool
	Backend string
}

// New returns a machine that adopts: parents that it has not heard of may still come, until Adopted is called.
func New(opt Options) *Machine {
	return &Machine{
		opt: opt, tasks: map[string]*task{}, tallies: map[Share]*tally{}, lanes: lanes{byKey: map[laneKey]*lane{}}, keys: map[string]*limitKey{},
		dirty: map[*task]struct{}{}, adopting: true,
		orphans: map[string][]queue.Entry{}, requests: map[string][]queue.Entry{},
	}
}

// Admit takes an entry of the log.
func (m *Machine) Admit(now time.Time, e queue.Entry) {
	if e.Op == queue.OpTask {
		m.admit(now, e)
		return
	}
	if m.adopting && m.tasks[e.Task] == nil {
		m.requests[e.Task] = append(m.requests[e.Task], e) // the task's entry may have been appended again, behind this one
		return
	}
	m.request(now, e)
}

func (m *Machine) request(now time.Time, e queue.Entry) {
	switch e.Op {
	case queue.OpCancel:
		m.cancel(now, e)
	case queue.OpClose:
		m.closeScope(e)
	default:
		m.settled = append(m.settled, e.ID) // of a later version, which does not lead
	}
}

func (m *Machine) admit(now time.Time, e queue.Entry) { m.enrol(now, e, m.adopting) }

// enrol makes an entry a task; early says that it may be a child from before its parent was closed.
func (m *Machine) enrol(now time.Time, e queue.Entry, early bool) {
	if known := m.tasks[e.Task]; known != nil {
		m.again(now, known, e)
		return
	}
	parent := m.tasks[e.Meta.Parent]
	if e.Meta.Parent != "" && parent == nil && m.adopting {
		m.orphans[e.Meta.Parent] = append(m.orphans[e.Meta.Parent], e)
		return
	}
	t := m.newTask(now, e)
	if e.Meta.Scope || e.Meta.Parent != "" {
		m.check(t)
	}
	// One that comes too late is nobody's child: it may be the entry of a retry, of a task that was counted already.
	if parent != nil && parent.phase < ending && (early || !parent.closed) {
		parent.adopt(t)
		m.show(parent)
		t.deadline = earlier(t.deadline, parent.deadline)
	}
	if e.Meta.Parent != "" && !adoptable(parent, early) {
		m.stop(now, t, parentEnded)
	} else {
		m.place(now, t)
	}
	requests := m.requests[e.Task]
	delete(m.requests, e.Task)
	for _, request := range requests {
		m.request(now, request)
	}
	orphans := m.orphans[e.Task]
	delete(m.orphans, e.Task)
	for _, orphan := range orphans {
		m.enrol(now, orphan, early)
	}
}

// again takes another entry of a task that is here: the same one appended anew, or one of another generation: of the
// two, one lost the race of two requests with one idempotency key, or is that of a dead letter that was put back since.
func (m *Machine) again(now time.Time, t *task, e queue.Entry) {
	same := e.Generation == t.entry.Generation
	late := t.entry.Follows(e) || t.passed != "" && !e.Follows(queue.Entry{ID: t.passed})
	switch {
	case e.ID == t.entry.ID:
	case same && (t.phase == ending || late), !same && t.phase < ending && t.known:
		m.settled = append(m.settled, e.ID)
	case same && (t.phase == beginning || e.Begun < t.logged || e.Begun > t.logged && !e.BegunSince()):
		t.passed = e.ID
		m.settled = append(m.settled, e.ID) // only the older one counts the attempts that began, or were taken back, since
		m.ages.note(t)
	case same:
		m.settled = append(m.settled, t.entry.ID)
		if e.Begun > t.logged {
			m.recount(now, t, e.Begun)
		}
		t.logged = e.Begun
		e.Begun, e.Standing = t.entry.Begun, t.entry.Standing
		t.entry = e
		m.ages.note(t)
	case t.phase == ending:
		t.after = append(t.after, e) // it was put back before its end is known to be recorded
	default:
		t.rivals = append(t.rivals, e) // the entry that lost may be read first, where the other was appended again
		m.check(t)
	}
}

// recount takes over attempts that a former leader began on the newer entry of a task, and died before it had settled
// the older one.
func (m *Machine) recount(now time.Time, t *task, begun int) {
	if t.phase >= beginning {
		return
	}
	t.entry.Begun = begun
	t.lingers = m.opt.Resumes(t.entry.Meta.Backend)
	m.withdraw(t)
	m.place(now, t)
}

// show has a task's standing recorded, so that its children's number shows; not while there are more to come.
func (m *Machine) show(t *task) {
	if !m.adopting && t.phase != ending {
		m.dirty[t] = struct{}{}
	}
}

// adoptable says whether a task may have further children, or early ones, which it had before it was closed.
func adoptable(parent *task, early bool) bool {
	if parent == nil || parent.phase == ending || parent.reason != nil {
		return false
	}
	if parent.own != nil && parent.own.State != queue.Succeeded {
		return false
	}
	return early || !parent.closed
}

func (m *Machine) newTask(now time.Time, e queue.Entry) *task {
	m.seq++
	t := &task{entry: e, seq: m.seq, deadline: e.Meta.Deadline, notBefore: e.Meta.NotBefore, since: now, logged: e.Begun}
	if s := e.Standing; s != nil {
		t.restore(s)
	}
	t.lingers = e.Begun > 0 && t.own == nil && m.opt.Resumes(e.Meta.Backend)
	m.tasks[e.Task] = t
	m.ages.sweep(len(m.tasks))
	m.ages.note(t)
	m.count(t)
	return t
}

// place puts a task where it stands.
func (m *Machine) place(now time.Time, t *task) {
	if !t.deadline.IsZero() {
		m.timers.push(timer{t.deadline, onDeadline, t})
	}
	interrupted := t.entry.Begun > len(t.history) && t.own == nil
	if interrupted && m.opt.Resumes(t.entry.Meta.Backend) {
		t.entry.Begun--
	}
	switch {
	case t.own != nil || t.entry.Meta.Scope:
		t.enter(waiting)
		m.endIfDone(t)
	case t.entry.Begun >= t.maxAttempts():
		// Whoever made the last attempt died of it.
		m.finish(now, t, &queue.Outcome{State: queue.Dead, Fault: &queue.Fault{
			Code: "LeaseExpired", Message: "the orchestrator that ran the task stopped answering",
		}})
	default:
		m.enqueue(now, t)
	}
}

// enqueue makes a task ready, now or when its time has come.
func (m *Machine) enqueue(now time.Time, t *task) {
	if t.notBefore.After(now) {
		t.enter(delayed)
		m.timers.push(timer{t.notBefore, onReady, t})
		return
	}
	if key := m.key(t); key != nil {
		if key.max = t.limit(); key.full(t) {
			t.enter(parked)
			key.park(t)
			return
		}
	}
	t.enter(ready)
	m.lanes.push(t)
}

// Adopted ends the time in which parents may follow their children.
func (m *Machine) Adopted(now time.Time) {
	m.Tick(now) // deadlines that passed while nobody led come before ends that nobody recorded
	m.adopting = false
	for _, e := range m.lost() {
		m.enrol(now, e, true)
	}
	requests := m.requests
	m.requests = nil
	for _, entries := range requests {
		for _, e := range entries {
			m.request(now, e)
		}
	}
	m.charge(now)
	for _, t := range m.tasks {
		m.endIfDone(t)
	}
}

// lost are the entries whose parents are not there, nor among those that wait for theirs: these come after them.
func (m *Machine) lost() []queue.Entry {
	waiting := map[string]bool{}
	for _, entries := range m.orphans {
		for _, e := range entries {
			waiting[e.Task] = true
		}
	}
	var lost []queue.Entry
	for parent, entries := range m.orphans {
		if !waiting[parent] {
			lost = append(lost, entries...)
			delete(m.orphans, parent)
		}
	}
	return lost
}

// Dangling says whether any of the entries refers to a task that is neither here nor among those before it, or closes a
// scope, which children may have been posted to before.
func (m *Machine) Dangling(entries []queue.Entry) bool {
	before := map[string]bool{"": true}
	for _, e := range entries {
		refers := e.Meta.Parent
		if e.Op != queue.OpTask {
			refers = e.Task
		}
		if e.Op == queue.OpClose || !before[refers] && m.tasks[refers] == nil {
			return true
		}
		before[e.Task] = true
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
