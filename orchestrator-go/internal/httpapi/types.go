package httpapi

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Defaults of a task.
const (
	defaultOutput   = 64 << 10
	defaultTimeout  = 60_000
	defaultAttempts = 3
)

// TaskSpec is a task as a client asks for it.
type TaskSpec struct {
	Argv             []string          `json:"argv,omitempty" maxItems:"4096" doc:"Program and arguments; never a shell string. Required unless noop."`
	Cwd              string            `json:"cwd,omitempty" maxLength:"4096" doc:"Working directory, relative to the workspace."`
	Env              map[string]string `json:"env,omitempty" doc:"Added to the runner's environment."`
	Stdin            string            `json:"stdin,omitempty" maxLength:"1048576" doc:"Standard input, UTF-8."`
	TimeoutMS        int64             `json:"timeout_ms,omitempty" minimum:"1" maximum:"86400000" default:"60000" doc:"After which the command is killed, in milliseconds."`
	OutputLimitBytes int64             `json:"output_limit_bytes,omitempty" minimum:"0" maximum:"1048576" default:"65536" doc:"Kept of each of stdout and stderr."`
	Class            queue.Class       `json:"class,omitempty" enum:"Interactive,Short,Long" default:"Short" doc:"How long the task is expected to take; labels the metrics."`
	MaxAttempts      int               `json:"max_attempts,omitempty" minimum:"1" maximum:"20" default:"3" doc:"Attempts in all, when the infrastructure fails. A command that fails is not repeated."`
	IdempotencyKey   string            `json:"idempotency_key,omitempty" maxLength:"256" doc:"Tasks sent with the same key are one task, until its result expires."`
	Noop             bool              `json:"noop,omitempty" doc:"Go the whole way to a runner, but run nothing; to measure."`
}

// Task is a task as clients see it.
type Task struct {
	ID         string        `json:"id" doc:"UUID."`
	State      queue.State   `json:"state" enum:"Queued,Running,Succeeded,Failed,Cancelled,Dead"`
	Argv       []string      `json:"argv,omitempty"`
	Noop       bool          `json:"noop,omitempty"`
	Class      queue.Class   `json:"class" enum:"Interactive,Short,Long"`
	Attempts   int           `json:"attempts" doc:"Begun so far. Progress is published a few times a second."`
	Max        int           `json:"max_attempts"`
	Result     *queue.Result `json:"result,omitempty" doc:"What the command did; the env runner's reply. Listings leave it out: read the task."`
	Error      *queue.Fault  `json:"error,omitempty" doc:"Why there is no result, or what the last attempt failed of."`
	CreatedAt  time.Time     `json:"created_at"`
	StartedAt  *time.Time    `json:"started_at,omitempty" doc:"Start of the latest attempt."`
	FinishedAt *time.Time    `json:"finished_at,omitempty"`
}

// TaskPage is one page of a listing, newest first.
type TaskPage struct {
	Tasks  []Task `json:"tasks" nullable:"false"`
	Cursor string `json:"cursor,omitempty" doc:"Pass it to get the next page; absent on the last."`
}

// Accepted names the tasks that were stored.
type Accepted struct {
	ID  string   `json:"id,omitempty" doc:"Of the task, when one was sent."`
	IDs []string `json:"ids,omitempty" doc:"Of the tasks, in order, when a batch was sent."`
}

func (s TaskSpec) spec() queue.Spec {
	return queue.Spec{
		Argv: s.Argv, Cwd: s.Cwd, Env: s.Env, Stdin: s.Stdin, Noop: s.Noop,
		TimeoutMS: or(s.TimeoutMS, defaultTimeout), OutputLimitBytes: or(s.OutputLimitBytes, defaultOutput),
		Class: or(s.Class, queue.Short), MaxAttempts: or(s.MaxAttempts, defaultAttempts), IdempotencyKey: s.IdempotencyKey,
	}
}

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

func present(t queue.Task) Task {
	return Task{
		ID: t.ID, State: t.State, Argv: t.Spec.Argv, Noop: t.Spec.Noop, Class: t.Spec.Class,
		Attempts: t.Attempts, Max: t.Spec.MaxAttempts, Result: t.Result, Error: t.Fault,
		CreatedAt: t.CreatedAt, StartedAt: t.StartedAt, FinishedAt: t.FinishedAt,
	}
}

func presentPage(page queue.Page) *output[TaskPage] {
	body := TaskPage{Tasks: make([]Task, len(page.Tasks)), Cursor: page.Cursor}
	for i, t := range page.Tasks {
		body.Tasks[i] = present(t)
	}
	return &output[TaskPage]{body}
}
