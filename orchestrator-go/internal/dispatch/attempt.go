package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
	"dspyagent.io/orchestrator/internal/telemetry"
)

// attempt is one try at a task, with the room that it takes.
type attempt struct {
	entry   queue.Entry
	cost    int64 // bytes
	permits []limit.Permit

	task   queue.Task
	number int
	token  int64
	fresh  bool            // no attempt was made before
	ctx    context.Context // ends, with a cause of package backend, when it is to be let go
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when it has ended
}

func (a *attempt) ignore() {
	for _, p := range a.permits {
		p.Ignore()
	}
}

// carryAll carries an attempt, then others that begin later: the stack has grown to what they need. So many wait for
// others as have run at once at most.
func (r *reign) carryAll(a *attempt) {
	for {
		r.carry(a)
		select {
		case a = <-r.idle:
		case <-r.taking.Done():
			return
		}
	}
}

// carry runs an attempt to its end.
func (r *reign) carry(a *attempt) {
	defer close(a.done)
	defer a.cancel(nil)
	begun := time.Now()
	result, err := r.runSafely(a)
	took := time.Since(begun)
	r.metrics.run.WithLabelValues(string(a.entry.Meta.Class)).Observe(took.Seconds())
	detached := err != nil && a.ctx.Err() != nil && !errors.Is(context.Cause(a.ctx), backend.ErrCancelled)
	if err != nil && a.ctx.Err() == nil {
		r.log.Warn("an attempt failed", "task", a.task.ID, "attempt", a.number, "error", err)
	}
	r.change(func(m *schedule.Machine) {
		a.free(took, result, err)
		r.bytes -= a.cost
		delete(r.attempts, a.entry.Task)
		if !detached {
			r.hold(a.entry.Task, result)
			m.Ended(time.Now(), a.entry.Task, verdict(result, err))
		}
	})
}

// free gives the attempt's room back with what it says of the backend. How long a command takes says nothing, so that
// is left out: what remains is what it waited for.
func (a *attempt) free(took time.Duration, result *queue.Result, err error) {
	var fault *backend.Fault
	for _, p := range a.permits {
		switch {
		case a.ctx.Err() != nil:
			p.Ignore()
		case errors.As(err, &fault) && fault.Overload:
			p.Dropped()
		case err != nil:
			p.Ignore()
		case result == nil:
			p.Done(took)
		default:
			p.Done(max(0, took-time.Duration(result.Usage.WallMS)*time.Millisecond))
		}
	}
}

// runSafely makes a panic of the backend a fault of this task.
func (r *reign) runSafely(a *attempt) (result *queue.Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a task's attempt panicked", "task", a.task.ID, "panic", p, "stack", string(debug.Stack()))
			err = &backend.Fault{
				Code: "Panicked", Message: "the orchestrator failed on this task; its log has the cause",
				Cause: fmt.Errorf("panic: %v", p),
			}
		}
	}()
	place, found := r.places[cmp.Or(a.task.Spec.Backend, queue.RunnerBackend)]
	if !found {
		return nil, &backend.Rejected{
			Code: "BackendUnknown", Message: fmt.Sprintf("this orchestrator has no backend %q; its settings name those it has", a.task.Spec.Backend),
		}
	}
	ctx, span := telemetry.BeginAttempt(a.ctx, a.task.Traceparent, a.task.ID, a.number, a.token)
	defer func() { telemetry.End(span, err) }()
	return place.Backend.Run(ctx, backend.Attempt{
		Task: a.task, Number: a.number, Token: a.token, Fresh: a.fresh, Started: func(where string) { r.placed(a, where) },
	})
}

func (r *reign) placed(a *attempt, where string) {
	now := time.Now()
	if a.number == 1 {
		r.metrics.wait.WithLabelValues(string(a.entry.Meta.Class)).Observe(now.Sub(due(a.task)).Seconds())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machine.Placed(now, a.task.ID, where)
	signal(r.work) // a budget may be used up from now on
}

// due is when a task could have begun at the earliest.
func due(t queue.Task) time.Time {
	if t.Spec.NotBefore.After(t.CreatedAt) {
		return t.Spec.NotBefore
	}
	return t.CreatedAt
}

// verdict tells what an attempt came to; causes of ours are for the log alone.
func verdict(result *queue.Result, err error) schedule.Verdict {
	var rejected *backend.Rejected
	var fault *backend.Fault
	switch {
	case err == nil:
		return schedule.Verdict{Result: result}
	case errors.As(err, &rejected):
		return schedule.Verdict{Fault: &queue.Fault{Code: rejected.Code, Message: rejected.Message}, Rejected: true}
	case errors.As(err, &fault):
		return schedule.Verdict{Fault: &queue.Fault{Code: fault.Code, Message: fault.Message}}
	}
	return schedule.Verdict{Fault: &queue.Fault{
		Code: "InfrastructureFault", Message: "the attempt failed for a reason outside the task",
	}}
}
