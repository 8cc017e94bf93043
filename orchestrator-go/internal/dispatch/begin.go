package dispatch

import (
	"cmp"
	"context"
	"errors"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
)

// beginLimit is how many attempts begin in one round trip.
const beginLimit = 256

// begin has attempts begin whenever there is room for some, until it is halted.
func (r *reign) begin() {
	for r.taking.Err() == nil {
		if picked := r.pick(); len(picked) > 0 {
			r.launch(picked)
			continue
		}
		r.sleep()
	}
}

// sleep waits until there may be something to begin, or the time has come for something.
func (r *reign) sleep() {
	wait := time.Minute
	r.mu.Lock()
	if at, some := r.machine.Wake(); some {
		wait = max(0, time.Until(at))
	}
	r.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-r.work:
	case <-timer.C:
	case <-r.taking.Done():
	}
}

// pick takes tasks that may begin now, with the room for each.
func (r *reign) pick() []*attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.machine.Tick(now)
	r.stop()
	signal(r.record)
	signal(r.check)
	if !r.leads(now) {
		return nil
	}
	var picked []*attempt
	r.machine.Pick(beginLimit, func(e queue.Entry) bool {
		a := r.acquire(e)
		if a != nil {
			picked = append(picked, a)
		}
		return a != nil
	})
	return picked
}

// acquire takes the room for an attempt; nil when there is none.
func (r *reign) acquire(e queue.Entry) *attempt {
	a := &attempt{entry: e}
	if !r.resumes(e.Meta.Backend) { // such an attempt waits for long, and reads its output at the end
		a.cost = int64(e.Bytes) + e.Meta.OutputBytes
	}
	if a.cost > 0 && r.bytes > 0 && r.bytes+a.cost > r.opt.MaxBytes {
		return nil
	}
	place := r.places[cmp.Or(e.Meta.Backend, queue.RunnerBackend)]
	for _, l := range []limit.Limiter{place.Limit, place.Classes[e.Meta.Class]} {
		if l == nil {
			continue
		}
		permit, ok := l.TryAcquire()
		if !ok {
			a.ignore()
			return nil
		}
		a.permits = append(a.permits, permit)
	}
	r.bytes += a.cost
	return a
}

var errSlow = errors.New("the lease may have run out meanwhile")

// launch counts attempts in the store and starts them.
func (r *reign) launch(picked []*attempt) {
	entries := make([]queue.Entry, len(picked))
	for i, a := range picked {
		entries[i] = a.entry
	}
	tasks, err := r.store.Begin(r.ruling, r.term, entries)
	if err == nil && !r.leads(time.Now()) {
		err = errSlow
	}
	if err != nil {
		r.missed("begin attempts", err)
		r.change(func(m *schedule.Machine) {
			for _, a := range picked {
				r.giveBack(a)
				m.NotBegun(time.Now(), a.entry.Task)
			}
		})
		pause(r.taking, storePause)
		return
	}
	r.change(func(m *schedule.Machine) {
		for i, a := range picked {
			r.start(m, a, tasks[i])
		}
	})
}

// start starts one attempt; the lock is held.
func (r *reign) start(m *schedule.Machine, a *attempt, task *queue.Task) {
	now, id := time.Now(), a.entry.Task
	if task == nil {
		r.giveBack(a)
		m.Stale(now, id)
		return
	}
	if task.State == queue.Dead {
		r.log.Error("cannot read a task", "task", id, "error", task.Fault.Message)
		r.giveBack(a)
		m.Unreadable(now, id, task.Fault)
		return
	}
	a.fresh = m.Fresh(id)
	if a.number = m.Begun(now, id, r.term.Token); a.number == 0 {
		r.giveBack(a)
		return
	}
	if a.number > 1 {
		r.metrics.retries.WithLabelValues(string(a.entry.Meta.Class)).Inc()
	}
	a.task, a.token = *task, r.term.Token(a.entry.Meta.Earlier+a.number)
	// Not of the ruling's: an attempt is always told whether it is cancelled or left to itself.
	a.ctx, a.cancel = context.WithCancelCause(context.WithoutCancel(r.ruling))
	a.done = make(chan struct{})
	r.attempts[id] = a
	if r.taking.Err() != nil {
		a.cancel(backend.ErrDetached) // it was begun in the moment of the halt
	}
	select {
	case r.idle <- a:
	default:
		r.running.Go(func() { r.carryAll(a) })
	}
}

// giveBack frees an attempt's room without a word on how it went; the lock is held.
func (r *reign) giveBack(a *attempt) {
	a.ignore()
	r.bytes -= a.cost
}
