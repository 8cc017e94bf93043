package schedule

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// phase is where a task is in the machine; it only grows, but for retries.
type phase int

const (
	delayed   phase = iota // until notBefore
	parked                 // as many tasks with its limit key run as may
	ready                  // in its tenant's heap
	beginning              // picked; the store is asked for it
	running
	waiting // for its children
	ending  // its end is to be recorded, or is being recorded
)

// maxHistory bounds the attempts that are remembered of one task.
const maxHistory = 20

// task is a task that has not ended.
type task struct {
	entry  queue.Entry // Begun counts the attempts
	logged int         // attempts that its entry in the log counts; more than Begun where the latest one is found again
	passed string      // the latest entry that was appended again in vain
	seq    uint64
	phase  phase // changed by enter alone
	tally  *tally
	index  int // in its tenant's heap

	notBefore, deadline time.Time

	parent   *task
	children map[*task]struct{} // that have not ended
	counts   queue.Children

	token     int64
	place     string
	startedAt time.Time
	foundAt   time.Time    // when an attempt first was placed, or ended, since this leader leads
	burns     bool         // its attempt uses up budgets
	fault     *queue.Fault // of the attempt before
	history   []queue.AttemptRecord

	reason  *reason        // why its attempt is broken off
	own     *queue.Outcome // with which it will end
	lingers bool           // what an attempt began may go on by itself, on a backend that finds it again
	closed  bool           // a scope that takes no more children
	stands  bool           // the store may hold its standing
	settled []string       // further entries that are done with when it ends,
	told    []string       // and those that are when its standing is recorded
	after   []queue.Entry  // of the same id, to be admitted when its end is recorded
	known   bool           // by the store, as what its entry asks for: see check.go
	asked   bool           // the store about that
	rivals  []queue.Entry  // of the same id, of which one may ask for it instead

	spent   time.Duration // of its budget, up to since
	burning int           // attempts that run in it and below
	since   time.Time

	budgetTimer time.Time // the earliest that is set; zero for none
}

// restore takes over what was recorded of a task that a former leader began. Its count of the attempts is left out: the
// log has it, where one that was broken off is taken back.
func (t *task) restore(s *queue.Standing) {
	t.stands, t.place, t.startedAt, t.fault, t.history = true, s.Place, s.StartedAt, s.Fault, s.History
	t.counts, t.closed, t.own = s.Children, s.Closed, s.Own
	t.counts.Open = 0 // those that come
	t.spent = time.Duration(s.SpentMS) * time.Millisecond
	if s.RetryAt.After(t.notBefore) {
		t.notBefore = s.RetryAt
	}
}

func (t *task) maxAttempts() int { return max(1, t.entry.Meta.MaxAttempts) }

func (t *task) adopt(child *task) {
	if t.children == nil {
		t.children = map[*task]struct{}{}
	}
	t.children[child] = struct{}{}
	child.parent = t
	t.counts.Open++
}

// state is what the store shows of it.
func (t *task) state() queue.State {
	switch {
	case t.phase == running && t.place != "": // until then it waits for a place
		return queue.Running
	case t.phase >= waiting:
		return queue.Waiting
	}
	return queue.Queued
}

func (t *task) standing() *queue.Standing {
	var spentAt time.Time
	if t.spent > 0 {
		spentAt = t.since.UTC()
	}
	s := &queue.Standing{
		State: t.state(), Attempts: t.entry.Begun, Place: t.place, StartedAt: t.startedAt, Fault: t.fault,
		History: t.history, Children: t.counts, SpentMS: t.spent.Milliseconds(), SpentAt: spentAt, Closed: t.closed, Own: t.own,
	}
	if t.phase == delayed && t.entry.Begun > 0 {
		s.RetryAt = t.notBefore
	}
	return s
}

// outcome completes the one that was decided with what the task has come through.
func (t *task) outcome(now time.Time) *queue.Outcome {
	out := *t.own
	out.Attempts = min(t.entry.Begun, t.maxAttempts())
	out.StartedAt, out.FinishedAt = t.startedAt.UTC(), now.UTC()
	out.Place, out.History, out.Children, out.SpentMS = t.place, t.history, t.counts, t.spent.Milliseconds()
	return &out
}

// ownBytes are those of the result with which it will end.
func (t *task) ownBytes() int {
	if t.own == nil {
		return 0
	}
	return t.own.Result.Size()
}

func (t *task) remember(a queue.AttemptRecord) {
	// A new slice: what was drained before is read elsewhere.
	history := append(t.history[:len(t.history):len(t.history)], a)
	t.history = history[max(0, len(history)-maxHistory):]
}
