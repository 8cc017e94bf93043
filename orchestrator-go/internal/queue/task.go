// Package queue holds the orchestrator's durable task queue: what a task is,
// and its storage in streams and strings of any server that speaks RESP.
//
// One process leads (term.go): it reads the log, schedules in memory, and alone writes what becomes of a task.
// Every process takes requests and appends them to the log:
//
//	<prefix>task/<id>  what to do, written once with its entry (one MULTI)
//	<prefix>log        the stream of new tasks, and of requests to cancel one or to close a scope. What is pending in
//	                   its group is what has not ended; an entry's delivery count, less one, is the attempts begun
//	<prefix>run/<id>   where a task stands that was begun and has not ended
//	<prefix>end/<id>   the outcome
//	<prefix>out/<id>/  results too large for listings to come across, each named by its outcome
//	<prefix>dead       a stream naming the tasks whose attempts ran out
//	<prefix>leader     the name of the process that leads, expiring; <prefix>epoch counts the leaders, and
//	                   <prefix>led is when one was last known to lead, by its own clock in Unix milliseconds
package queue

import (
	"errors"
	"time"
)

// Errors that callers tell apart. Everything else is the store being unreachable or refusing.
var (
	ErrNotFound            = errors.New("no such task")
	ErrFinished            = errors.New("the task has finished")
	ErrNotDead             = errors.New("the task is not a dead letter")
	ErrFenced              = errors.New("another process leads")
	ErrIdempotencyConflict = errors.New("the idempotency key belongs to a different task")
	ErrQueueFull           = errors.New("the queue is full")
	ErrTooLarge            = errors.New("the task is too large")
	ErrBadCursor           = errors.New("the cursor is not one that a listing returned")
	ErrParentNotFound      = errors.New("no such parent task")
	ErrParentEnded         = errors.New("the parent has ended")
	ErrTooDeep             = errors.New("tasks are nested too deeply")
	ErrNotScope            = errors.New("the task is not a scope")
)

// State is where a task stands.
type State string

// The states of a task; Succeeded, Failed, Cancelled and Dead are terminal.
const (
	Queued    State = "Queued"
	Running   State = "Running"
	Waiting   State = "Waiting" // its own command is done, or the scope closed: it ends after its children
	Succeeded State = "Succeeded"
	Failed    State = "Failed"
	Cancelled State = "Cancelled"
	Dead      State = "Dead"
)

// Terminal says whether a task in this state has ended.
func (s State) Terminal() bool {
	return s == Succeeded || s == Failed || s == Cancelled || s == Dead
}

// Class says how long a task is expected to take; it labels metrics.
type Class string

// The classes of tasks.
const (
	Interactive Class = "Interactive"
	Short       Class = "Short"
	Long        Class = "Long"
)

// Spec is what a client asks for.
type Spec struct {
	Argv             []string          `json:"argv,omitempty"`
	Cwd              string            `json:"cwd,omitempty"`
	Env              map[string]string `json:"env,omitempty"`
	Stdin            string            `json:"stdin,omitempty"`
	TimeoutMS        int64             `json:"timeout_ms,omitempty"`
	OutputLimitBytes int64             `json:"output_limit_bytes,omitempty"`
	Noop             bool              `json:"noop,omitempty"`
	Class            Class             `json:"class"`
	MaxAttempts      int               `json:"max_attempts"`
	IdempotencyKey   string            `json:"idempotency_key,omitempty"`

	Tenant    string    `json:"tenant,omitempty"`   // whose it is: for fairness, and for who may see it
	Priority  int       `json:"priority,omitempty"` // among one tenant's tasks: the highest first
	NotBefore time.Time `json:"not_before,omitzero"`
	Deadline  time.Time `json:"deadline,omitzero"`   // after which the task is ended, begun or not
	LimitKey  string    `json:"limit_key,omitempty"` // of the tasks that share it,
	LimitMax  int       `json:"limit_max,omitempty"` // so many run at once

	Parent   string `json:"parent,omitempty"`    // id of the task that ends only after this one
	Scope    bool   `json:"scope,omitempty"`     // runs nothing: open until it is closed, then ends after its children
	BudgetMS int64  `json:"budget_ms,omitempty"` // of run time, for the task and all its descendants together

	Backend   string `json:"backend,omitempty"`   // empty for RunnerBackend
	Workspace string `json:"workspace,omitempty"` // sha256 of the archive that the command runs in a fork of
	Slurm     *Slurm `json:"slurm,omitempty"`
}

// The backends that a task may name.
const (
	RunnerBackend = "runner"
	SlurmBackend  = "slurm"
)

// Slurm is what a Slurm job asks for; zero values are left to Slurm.
type Slurm struct {
	Account          string `json:"account,omitempty"`
	Partition        string `json:"partition,omitempty"`
	QOS              string `json:"qos,omitempty"`
	Constraint       string `json:"constraint,omitempty"`
	Reservation      string `json:"reservation,omitempty"`
	Gres             string `json:"gres,omitempty"`
	Array            string `json:"array,omitempty"` // such as 0-9%2
	Nodes            int    `json:"nodes,omitempty"`
	TasksPerNode     int    `json:"tasks_per_node,omitempty"`
	CPUsPerTask      int    `json:"cpus_per_task,omitempty"`
	MemoryMB         int64  `json:"memory_mb,omitempty"` // per node
	TimeLimitMinutes int    `json:"time_limit_minutes,omitempty"`
	Requeue          bool   `json:"requeue,omitempty"` // after a node's failure or a preemption
}

// Submission is a Spec with the trace of the request that brought it.
type Submission struct {
	Spec        Spec
	Traceparent string

	depth  int  // of its ancestors
	stored bool // before: only its id is wanted
}

// Usage is what an attempt consumed, as the env runner measured it.
type Usage struct {
	WallMS      int64 `json:"wall_ms"`
	UserMS      int64 `json:"user_ms"`
	SystemMS    int64 `json:"system_ms"`
	MaxRSSBytes int64 `json:"max_rss_bytes"`
}

// Result is a command's result: the reply of the env runner's POST /v1/exec.
type Result struct {
	ExitCode        *int     `json:"exit_code"`
	Signal          *int     `json:"signal"`
	Reason          string   `json:"reason"`
	Stdout          string   `json:"stdout"`
	Stderr          string   `json:"stderr"`
	StdoutBytes     int64    `json:"stdout_bytes"`
	StderrBytes     int64    `json:"stderr_bytes"`
	StdoutTruncated bool     `json:"stdout_truncated"`
	StderrTruncated bool     `json:"stderr_truncated"`
	Usage           Usage    `json:"usage"`
	Isolation       []string `json:"isolation"`

	Slurm *SlurmJob `json:"slurm,omitempty" doc:"Of a task on Slurm."`
}

// Fault says why a task has no result: a stable code and a sentence that is safe to show.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Task is a task as clients see it.
type Task struct {
	ID          string
	Spec        Spec
	State       State
	Attempts    int
	Result      *Result
	Fault       *Fault
	Traceparent string
	CreatedAt   time.Time
	StartedAt   *time.Time // of the latest attempt; nil while none has been reported
	FinishedAt  *time.Time

	Place    string          // where the latest attempt runs, for people: a runner's URL, "slurm job 17"
	History  []AttemptRecord // of its attempts, oldest first; of many only the last
	Children Children
	SpentMS  int64 // of its budget, by itself and all descendants
	Closed   bool  // a scope that takes no more children
}

// AttemptRecord is what one attempt came to.
type AttemptRecord struct {
	Number    int       `json:"number"`
	Token     int64     `json:"token"` // its fencing token
	Place     string    `json:"place,omitempty"`
	StartedAt time.Time `json:"started_at,omitzero"`
	EndedAt   time.Time `json:"ended_at,omitzero"`
	Fault     *Fault    `json:"error,omitempty"`
}

// Children counts a task's direct children.
type Children struct {
	Open      int `json:"open"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"` // ended in any other way
}

// Filter says which tasks to list; what is zero does not matter.
type Filter struct {
	State  State
	Tenant string
	Parent string
	Class  Class
}

// Outcome is the end of a task.
type Outcome struct {
	State      State           `json:"state"`
	Attempts   int             `json:"attempts"`
	Result     *Result         `json:"result,omitempty"`
	Fault      *Fault          `json:"error,omitempty"`
	StartedAt  time.Time       `json:"started_at,omitzero"`
	FinishedAt time.Time       `json:"finished_at"`
	Place      string          `json:"place,omitempty"`
	History    []AttemptRecord `json:"history,omitempty"`
	Children   Children        `json:"children,omitzero"`
	SpentMS    int64           `json:"spent_ms,omitempty"`

	output string // where the result is kept apart, when it is not here
}

// Page is one page of a listing, newest first; an empty Cursor means that it is the last. Its tasks
// come without what may be large and is not for listings: standard input, environment and result.
type Page struct {
	Tasks  []Task
	Cursor string
}

// Stats counts what the store holds.
type Stats struct {
	Live int64 // tasks that have not ended, and requests about them
	Dead int64 // dead letters, those put back excluded
}
