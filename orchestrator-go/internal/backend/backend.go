// Package backend says what a place that runs tasks is asked, and what it can answer.
package backend

import (
	"context"
	"errors"
	"fmt"

	"dspyagent.io/orchestrator/internal/queue"
)

// Causes of an attempt's end that a backend tells apart, by context.Cause.
var (
	// ErrDetached: stop waiting. Work that can be found again by the task's id goes on without us; other work is ended.
	ErrDetached = errors.New("the attempt is left to itself")
	// ErrCancelled: nobody wants the result, so the work is ended.
	ErrCancelled = errors.New("the attempt was cancelled")
)

// Attempt is one try at a task.
type Attempt struct {
	Task   queue.Task
	Number int // from 1
	// Token grows with every attempt, across restarts: whoever the attempt writes to can refuse a lower
	// one than it has seen (a fencing token, Kleppmann 2016).
	Token int64
	// Fresh says that no attempt was made before, so that there is no work to be found again.
	Fresh bool
	// Started is to be called when a place to run was found; place names it for people.
	Started func(place string)
}

// Backend runs attempts. Run returns the result of a command that ran, whatever it was; nil stands for a no-op. It
// gives up soon after ctx ends. Errors: *Rejected; anything else is worth another attempt.
type Backend interface {
	Run(ctx context.Context, a Attempt) (*queue.Result, error)
}

// Reaper is a backend of which work goes on that was detached.
type Reaper interface {
	// Reap ends the work that earlier attempts at a task may have left, of this process or another. Nobody wants its result.
	Reap(ctx context.Context, task string) error
}

// Tailer is a backend that can show what a running task has written.
type Tailer interface {
	// Tail returns what there is from an offset on, at most some 64 KiB, and the offset to ask for next.
	Tail(ctx context.Context, task queue.Task, offset int64) (chunk []byte, next int64, err error)
}

// Rejected is an answer that no other attempt would change: the request itself cannot be
// carried out, such as a program that does not exist. Message is safe to show to clients.
// Every other error of a backend is a fault of the infrastructure, worth another attempt.
type Rejected struct {
	Code    string
	Message string
}

func (r *Rejected) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Message) }

// Fault is a fault of the infrastructure with a code and a message that are safe to show;
// Cause, which is not, is for the log.
type Fault struct {
	Code    string
	Message string
	Cause   error
	// Overload says that the place had too much to do. Other faults say nothing of how much it carries.
	Overload bool
}

func (f *Fault) Error() string { return fmt.Sprintf("%s: %v", f.Code, f.Cause) }
func (f *Fault) Unwrap() error { return f.Cause }
