package dispatch

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// carry takes one held task through its attempts to its end. It gives the slot up while
// the task waits for its next attempt, but never the lease.
func (d *Dispatcher) carry(h *hold) {
	for d.takeSlot(h) {
		outcome, err := d.attempt(h)
		<-d.slots
		if outcome == nil && h.ctx.Err() == nil {
			outcome = d.exhausted(h, err)
		}
		if outcome != nil {
			d.done <- ending{h, queue.Completion{Lease: h.snapshot().Lease, Outcome: outcome}}
			return
		}
		if h.ctx.Err() != nil || !d.awaitRetry(h) {
			break
		}
	}
	d.letGo(h)
}

// takeSlot waits for a slot. It reports false when the task is to be let go, even where a slot is free:
// of several ready cases select takes any.
func (d *Dispatcher) takeSlot(h *hold) bool {
	if d.unwanted(h) {
		return false
	}
	select {
	case d.slots <- struct{}{}:
		return true
	case <-h.ctx.Done():
	case <-d.draining:
		h.cancel(errDraining)
	}
	return false
}

func (d *Dispatcher) unwanted(h *hold) bool {
	select {
	case <-d.draining:
		h.cancel(errDraining)
	default:
	}
	return h.ctx.Err() != nil
}

// attempt runs the task once. No outcome means that the attempt decided nothing, for the reason in error.
func (d *Dispatcher) attempt(h *hold) (*queue.Outcome, error) {
	lease := h.snapshot().Lease
	// An attempt count beyond the limit means that whoever made the last one died of it.
	if lease.Attempt > lease.Task.Spec.MaxAttempts {
		return nil, &backend.Fault{Code: "LeaseExpired", Message: "the orchestrator that ran the task stopped answering"}
	}
	begun := time.Now()
	result, err := d.runSafely(h, lease.Task, func() {
		begun = time.Now()
		if lease.Attempt == 1 {
			d.metrics.wait.WithLabelValues(string(lease.Task.Spec.Class)).Observe(begun.Sub(lease.Task.CreatedAt).Seconds())
		}
		h.show(func(p *queue.Progress) { p.State, p.StartedAt = queue.Running, begun.UTC() })
	})
	d.metrics.run.WithLabelValues(string(lease.Task.Spec.Class)).Observe(time.Since(begun).Seconds())
	var rejected *backend.Rejected
	if err != nil && !errors.As(err, &rejected) {
		return nil, err
	}
	out := &queue.Outcome{
		State: queue.Succeeded, Attempts: lease.Attempt, Result: result,
		StartedAt: begun.UTC(), FinishedAt: time.Now().UTC(),
	}
	switch {
	case rejected != nil:
		out.State, out.Fault = queue.Failed, &queue.Fault{Code: rejected.Code, Message: rejected.Message}
	case result != nil && result.Reason != "Completed":
		out.State = queue.Failed
	}
	return out, nil
}

// runSafely makes a panic of the backend a fault of this task.
func (d *Dispatcher) runSafely(h *hold, task queue.Task, started func()) (result *queue.Result, err error) {
	defer func() {
		if r := recover(); r != nil {
			d.log.Error("a task's attempt panicked", "task", task.ID, "panic", r, "stack", string(debug.Stack()))
			err = &backend.Fault{
				Code: "Panicked", Message: "the orchestrator failed on this task; its log has the cause",
				Cause: fmt.Errorf("panic: %v", r),
			}
		}
	}()
	return d.backend.Run(h.ctx, backend.Attempt{
		Task: task, Number: h.snapshot().Lease.Attempt, Started: func(string) { started() },
	})
}

// exhausted decides whether a fault was the last one allowed; nil means another attempt.
func (d *Dispatcher) exhausted(h *hold, err error) *queue.Outcome {
	p := h.snapshot()
	fault := describe(err)
	d.log.Warn("an attempt failed", "task", p.Lease.Task.ID, "attempt", p.Lease.Attempt, "error", err)
	if p.Lease.Attempt < p.Lease.Task.Spec.MaxAttempts {
		h.show(func(p *queue.Progress) { p.State, p.Fault = queue.Queued, fault })
		return nil
	}
	return &queue.Outcome{
		State: queue.Dead, Attempts: min(p.Lease.Attempt, p.Lease.Task.Spec.MaxAttempts), Fault: fault,
		StartedAt: p.StartedAt, FinishedAt: time.Now().UTC(),
	}
}

func describe(err error) *queue.Fault {
	var fault *backend.Fault
	if errors.As(err, &fault) {
		return &queue.Fault{Code: fault.Code, Message: fault.Message}
	}
	return &queue.Fault{Code: "InfrastructureFault", Message: "the attempt failed for a reason outside the task"}
}

// awaitRetry waits out the backoff and begins the next attempt in the store. It reports false
// when the task is to be let go.
func (d *Dispatcher) awaitRetry(h *hold) bool {
	lease := h.snapshot().Lease
	timer := time.NewTimer(backoff(lease.Attempt, d.opt.BackoffBase, d.opt.BackoffMax))
	defer timer.Stop()
	select {
	case <-h.ctx.Done():
	case <-timer.C:
	case <-d.draining:
	}
	for !d.unwanted(h) {
		next, err := d.queue.Retry(h.ctx, lease)
		if err == nil {
			d.metrics.retries.WithLabelValues(string(lease.Task.Spec.Class)).Inc()
			h.show(func(p *queue.Progress) { p.Lease = next })
			return true
		}
		if errors.Is(err, queue.ErrLeaseLost) {
			h.cancel(errLeaseLost)
			return false
		}
		d.log.Error("cannot begin another attempt; trying again", "task", lease.Task.ID, "error", err)
		pause(h.ctx, storePause)
	}
	// A task that is handed back is not charged with its lease's attempt; this one was made, and stays counted.
	h.show(func(p *queue.Progress) { p.Lease.Attempt++ })
	return false
}

// letGo gives up a task that is not to be carried further here, for the cause that ended its context.
func (d *Dispatcher) letGo(h *hold) {
	lease := h.snapshot().Lease
	if errors.Is(context.Cause(h.ctx), errEnded) {
		d.done <- ending{h, queue.Completion{Lease: lease}}
		return
	}
	defer d.held.remove(h)
	if !errors.Is(context.Cause(h.ctx), errDraining) {
		d.log.Warn("a task was taken over by another process", "task", lease.Task.ID, "attempt", lease.Attempt)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), d.opt.Lease)
	defer cancel()
	if err := d.queue.Release(ctx, []queue.Lease{lease}); err != nil {
		// The lease expires by itself: the task is late, not lost.
		d.log.Error("cannot hand a task back", "task", lease.Task.ID, "error", err)
	}
}
