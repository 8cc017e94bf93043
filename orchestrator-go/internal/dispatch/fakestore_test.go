package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/history"
	"dspyagent.io/orchestrator/internal/queue"
)

// fakeStore is a fake of the durable queue, in memory, with the queue's rules: package queuetest holds the real one to
// them. It writes down what takes effect. What becomes of a request on its way is up to each client's mishap.
type fakeStore struct {
	lease time.Duration
	seen  *history.History

	mu      sync.Mutex
	epoch   int64
	leader  string
	until   time.Time // of the lease
	led     time.Time // when somebody was last known to lead
	log     []*fakeEntry
	read    int // entries of the log that were delivered
	pending map[string]*fakeEntry
	specs   map[string]queue.Spec
	owners  map[string]string // the generations of the tasks
	stands  map[string]queue.Standing
	ends    map[string]queue.Outcome
	news    chan struct{} // closed with the next entry
	moves   int           // entries that were appended again
}

type fakeEntry struct {
	queue.Entry
	owner string
	moved bool // it was appended again
}

// unreadable is the backend of tasks of which the record cannot be read.
const unreadable = "of another version"

var errAway = errors.New("the store does not answer")

func newFakeStore(lease time.Duration, seen *history.History) *fakeStore {
	return &fakeStore{
		lease: lease, seen: seen, pending: map[string]*fakeEntry{}, specs: map[string]queue.Spec{}, owners: map[string]string{},
		stands: map[string]queue.Standing{}, ends: map[string]queue.Outcome{}, news: make(chan struct{}),
	}
}

// append adds an entry to the log; the lock is held.
func (s *fakeStore) append(e queue.Entry) {
	e.ID = fmt.Sprintf("%d-%d", time.Now().UnixMilli(), len(s.log)+1)
	s.log = append(s.log, &fakeEntry{Entry: e})
	close(s.news)
	s.news = make(chan struct{})
}

// enqueue stores a task, unless there is one with this id: the entry is stale then, as that of a request which is sent
// again with its idempotency key.
func (s *fakeStore) enqueue(id string, spec queue.Spec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if spec.Class == "" {
		spec.Class = queue.Short
	}
	generation := fmt.Sprint("g", len(s.log))
	if s.owners[id] == "" {
		s.specs[id], s.owners[id] = spec, generation
	}
	s.append(queue.Entry{Task: id, Generation: generation, Bytes: 1, Meta: queue.Meta{
		Class: spec.Class, Backend: spec.Backend, Tenant: spec.Tenant, Priority: spec.Priority, NotBefore: spec.NotBefore,
		Deadline: spec.Deadline, LimitKey: spec.LimitKey, LimitMax: spec.LimitMax, Parent: spec.Parent, Scope: spec.Scope,
		BudgetMS: spec.BudgetMS, MaxAttempts: spec.MaxAttempts, OutputBytes: 2 * spec.OutputLimitBytes,
	}})
	s.seen.Add(history.Event{Kind: history.Accepted, Task: id})
}

// request asks something of a task.
func (s *fakeStore) request(op queue.Op, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.append(queue.Entry{Op: op, Task: id})
}

// end is a task's end; false while it has none.
func (s *fakeStore) end(id string) (queue.Outcome, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out, ended := s.ends[id]
	state := ""
	if ended {
		state = string(out.State)
	}
	s.seen.Add(history.Event{Kind: history.Read, Task: id, State: state})
	return out, ended
}

// left is what has not been settled.
func (s *fakeStore) left() (entries, standings int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log) - s.read + len(s.pending), len(s.stands)
}

// moved is how many entries were appended again.
func (s *fakeStore) moved() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moves
}

// client is the store as one process reaches it.
type client struct {
	*fakeStore
	name string
	// mishap may delay a request, and fail it before or after it takes effect.
	mishap func(ctx context.Context, op string) (before, after error)
	late   func(op string) // may delay the reply, after the effect

	stop    sync.Mutex
	stopped chan struct{} // while the process is stopped; closed when it goes on
}

// pause stops the process, as SIGSTOP does; what it has asked of the store still happens there.
func (c *client) pause() {
	c.stop.Lock()
	defer c.stop.Unlock()
	c.stopped = make(chan struct{})
}

// resume has it go on.
func (c *client) resume() {
	c.stop.Lock()
	defer c.stop.Unlock()
	close(c.stopped)
	c.stopped = nil
}

// gate waits as long as the process is stopped.
func (c *client) gate() {
	for {
		c.stop.Lock()
		stopped := c.stopped
		c.stop.Unlock()
		if stopped == nil {
			return
		}
		<-stopped
	}
}

// do carries a request out; effect is called with the lock held.
func (c *client) do(ctx context.Context, op string, effect func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if op != "next" { // a read waits in the store
		c.gate()
	}
	defer c.gate()
	before, after := error(nil), error(nil)
	if c.mishap != nil {
		before, after = c.mishap(ctx, op)
	}
	if before != nil {
		return before
	}
	if err := c.locked(effect); err != nil {
		return err
	}
	if c.late != nil {
		c.late(op)
	}
	return after
}

func (s *fakeStore) locked(effect func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return effect()
}

// Lead implements Store.
func (c *client) Lead(ctx context.Context, term queue.Term) (got queue.Term, err error) {
	err = c.do(ctx, "lead", func() error {
		free := c.leader == "" || c.leader == c.name || !time.Now().Before(c.until)
		if !free || term.Epoch != 0 && term.Epoch != c.epoch {
			return fmt.Errorf("leading: %w", queue.ErrFenced)
		}
		if got = term; term.Epoch == 0 {
			c.epoch++
			got = queue.Term{Epoch: c.epoch, Before: c.led}
		}
		c.leader, c.led, c.until = c.name, time.Now(), time.Now().Add(c.lease)
		return nil
	})
	return got, err
}

// Resign implements Store.
func (c *client) Resign(ctx context.Context, term queue.Term, unbegun []queue.Entry) error {
	return c.do(ctx, "resign", func() error {
		if term.Epoch != c.epoch {
			return queue.ErrFenced
		}
		for _, e := range unbegun {
			if p := c.pending[e.ID]; p != nil {
				p.Begun = e.Begun
			}
		}
		c.leader = ""
		return nil
	})
}

// Adopt implements Store; its pages are small, so that there are several.
func (c *client) Adopt(ctx context.Context, cursor string, mine bool) (entries []queue.Entry, next string, err error) {
	const page = 3
	err = c.do(ctx, "adopt", func() error {
		after := 0
		if cursor != "" {
			if _, err := fmt.Sscanf(cursor, "%d-%d", new(int64), &after); err != nil {
				return err
			}
		}
		for _, e := range c.log[after:c.read] {
			if c.pending[e.ID] == nil || !mine && e.owner == c.name {
				continue
			}
			if len(entries) == page {
				next = entries[page-1].ID
				break
			}
			e.owner = c.name
			got := e.Entry
			if s, found := c.stands[e.Task]; found && e.Op == queue.OpTask {
				got.Standing = &s
			}
			entries = append(entries, got)
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return entries, next, nil
}

// Next implements Store.
func (c *client) Next(ctx context.Context, limit int, block time.Duration) (entries []queue.Entry, err error) {
	until := time.NewTimer(block)
	defer until.Stop()
	for {
		var news chan struct{}
		err = c.do(ctx, "next", func() error {
			news = c.news
			for c.read < len(c.log) && len(entries) < limit {
				e := c.log[c.read]
				e.owner = c.name
				c.pending[e.ID] = e
				c.read++
				got := e.Entry
				if s, found := c.stands[e.Task]; found && e.moved {
					got.Standing = &s
				}
				entries = append(entries, got)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		if len(entries) > 0 {
			return entries, nil
		}
		select {
		case <-news:
		case <-until.C:
			return nil, nil
		}
		ctx = context.WithoutCancel(ctx) // it waits in the store, which gives it what comes whether the caller is gone or not
	}
}

// wants says whether an entry asks for its task; the lock is held.
func (s *fakeStore) wants(e queue.Entry) bool {
	_, ended := s.ends[e.Task]
	return !ended && s.owners[e.Task] == e.Generation
}

// Wanted implements Store.
func (c *client) Wanted(ctx context.Context, entries []queue.Entry) (wanted []bool, err error) {
	err = c.do(ctx, "wanted", func() error {
		wanted = make([]bool, len(entries))
		for i, e := range entries {
			wanted[i] = c.wants(e)
		}
		return nil
	})
	return wanted, err
}

// Begin implements Store.
func (c *client) Begin(ctx context.Context, term queue.Term, entries []queue.Entry) (tasks []*queue.Task, err error) {
	err = c.do(ctx, "begin", func() error {
		if term.Epoch != c.epoch {
			return fmt.Errorf("beginning: %w", queue.ErrFenced)
		}
		tasks = make([]*queue.Task, len(entries))
		for i, e := range entries {
			if p := c.pending[e.ID]; p != nil {
				p.Begun, p.owner = e.Begun+1, c.name
			}
			if c.wants(e) {
				tasks[i] = &queue.Task{ID: e.Task, Spec: c.specs[e.Task], CreatedAt: time.Now()}
				if c.specs[e.Task].Backend == unreadable {
					tasks[i].State, tasks[i].Fault = queue.Dead, &queue.Fault{Code: "TaskUnreadable"}
				}
			}
		}
		return nil
	})
	return tasks, err
}

// Record implements Log.
func (c *client) Record(ctx context.Context, term queue.Term, changes []queue.Change, again bool) error {
	return c.do(ctx, "record", func() error {
		if term.Epoch != c.epoch {
			return fmt.Errorf("recording: %w", queue.ErrFenced)
		}
		if again && c.recorded(changes) {
			return nil
		}
		for _, change := range changes {
			c.apply(change)
		}
		return nil
	})
}

// recorded says whether changes took effect before; the lock is held.
func (s *fakeStore) recorded(changes []queue.Change) bool {
	ends := false
	for _, change := range changes {
		for _, id := range change.Settled {
			if ends = ends || change.Outcome != nil; change.Outcome != nil && s.pending[id] != nil {
				return false
			}
		}
	}
	return ends
}

// revive puts a dead letter back.
func (s *fakeStore) revive(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ends, id)
	delete(s.stands, id)
	s.owners[id] = fmt.Sprint("g", len(s.log))
	spec := s.specs[id]
	s.append(queue.Entry{Task: id, Generation: s.owners[id], Bytes: 1, Meta: queue.Meta{Class: spec.Class, MaxAttempts: spec.MaxAttempts}})
}

// apply makes a change; the lock is held.
func (c *client) apply(change queue.Change) {
	if _, ended := c.ends[change.Task]; !ended {
		if change.Outcome != nil {
			c.ends[change.Task] = *change.Outcome
			c.seen.Add(history.Event{
				Kind: history.Recorded, Task: change.Task, By: c.name, State: string(change.Outcome.State), Token: tokenOf(change.Outcome),
			})
		}
		if change.Standing != nil {
			c.stands[change.Task] = *change.Standing
		}
	}
	if change.Outcome != nil {
		delete(c.stands, change.Task)
	}
	for _, id := range change.Settled {
		delete(c.pending, id)
	}
	if change.Move != nil {
		moved := *change.Move
		moved.Standing = nil
		c.append(moved)
		c.log[len(c.log)-1].moved = true
		c.moves++
	}
}

// tokenOf is the token of the attempt whose end an outcome is; 0 when it is none's.
func tokenOf(out *queue.Outcome) int64 {
	decided := map[string]bool{"LeaseExpired": true, "DeadlineExceeded": true, "BudgetExceeded": true, "ParentEnded": true, "BackendUnknown": true}
	if len(out.History) == 0 || out.State == queue.Cancelled || out.Fault != nil && decided[out.Fault.Code] {
		return 0
	}
	return out.History[len(out.History)-1].Token
}

// states are the tasks' ends.
func (s *fakeStore) states() map[string]queue.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]queue.State{}
	for id, end := range maps.All(s.ends) {
		out[id] = end.State
	}
	return out
}

// leaders is how many terms there were.
func (s *fakeStore) leaders() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.epoch
}
