package httpapi

import (
	"cmp"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// maxHistory is how many of a task's attempts are shown: the last ones.
const maxHistory = 20

// Task is a task as clients see it.
type Task struct {
	ID         string        `json:"id" doc:"UUID."`
	State      queue.State   `json:"state" enum:"Queued,Running,Waiting,Succeeded,Failed,Cancelled,Dead" doc:"Waiting: done itself, or closed; it ends after its children."`
	Tenant     string        `json:"tenant,omitempty" doc:"Whose it is."`
	Argv       []string      `json:"argv,omitempty"`
	Noop       bool          `json:"noop,omitempty"`
	Scope      bool          `json:"scope,omitempty"`
	Class      queue.Class   `json:"class" enum:"Interactive,Short,Long"`
	Priority   int           `json:"priority,omitempty"`
	Backend    string        `json:"backend" doc:"runner or slurm."`
	Place      string        `json:"place,omitempty" doc:"Where the latest attempt runs or ran."`
	Workspace  string        `json:"workspace,omitempty"`
	Limit      *Limit        `json:"limit,omitempty"`
	Parent     string        `json:"parent,omitempty"`
	Children   *Children     `json:"children,omitempty" doc:"How its children stand; absent when it never had one."`
	BudgetMS   int64         `json:"budget_ms,omitempty"`
	SpentMS    int64         `json:"spent_ms,omitempty" doc:"Run time of the task and all its descendants."`
	Attempts   int           `json:"attempts" doc:"Begun so far. Progress is published a few times a second."`
	Max        int           `json:"max_attempts"`
	History    []Attempt     `json:"history,omitempty" doc:"Of its attempts, the last 20, oldest first."`
	Result     *queue.Result `json:"result,omitempty" doc:"What the command did; the env runner's reply. Listings leave it out: read the task."`
	Error      *queue.Fault  `json:"error,omitempty" doc:"Why there is no result, or what the last attempt failed of."`
	CreatedAt  time.Time     `json:"created_at"`
	NotBefore  *time.Time    `json:"not_before,omitempty"`
	Deadline   *time.Time    `json:"deadline,omitempty"`
	StartedAt  *time.Time    `json:"started_at,omitempty" doc:"Start of the latest attempt."`
	FinishedAt *time.Time    `json:"finished_at,omitempty"`
}

// Children counts a task's children.
type Children struct {
	Open      int `json:"open"`
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed" doc:"Ended in any other way."`
}

// Attempt is one of a task's attempts.
type Attempt struct {
	Number    int          `json:"number" doc:"From 1."`
	Token     int64        `json:"token" doc:"Its fencing token: grows with every attempt of every task."`
	Place     string       `json:"place,omitempty" doc:"Where it ran: a runner's URL, a Slurm job."`
	StartedAt *time.Time   `json:"started_at,omitempty"`
	EndedAt   *time.Time   `json:"ended_at,omitempty"`
	Error     *queue.Fault `json:"error,omitempty" doc:"Why it came to no result."`
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

func present(t queue.Task) Task {
	s := t.Spec
	shown := Task{
		ID: t.ID, State: t.State, Tenant: s.Tenant, Argv: s.Argv, Noop: s.Noop, Scope: s.Scope, Class: s.Class,
		Priority: s.Priority, Backend: cmp.Or(s.Backend, queue.RunnerBackend), Place: t.Place, Workspace: s.Workspace,
		Parent: s.Parent, BudgetMS: s.BudgetMS, SpentMS: t.SpentMS, Attempts: t.Attempts, Max: s.MaxAttempts,
		History: presentHistory(t.History), Result: t.Result, Error: t.Fault, CreatedAt: t.CreatedAt,
		NotBefore: known(s.NotBefore), Deadline: known(s.Deadline), StartedAt: t.StartedAt, FinishedAt: t.FinishedAt,
	}
	if s.LimitKey != "" {
		shown.Limit = &Limit{Key: s.LimitKey, Max: s.LimitMax}
	}
	if s.Scope || t.Children != (queue.Children{}) {
		counts := Children(t.Children)
		shown.Children = &counts
	}
	return shown
}

func presentHistory(records []queue.AttemptRecord) []Attempt {
	records = records[max(0, len(records)-maxHistory):]
	shown := make([]Attempt, len(records))
	for i, r := range records {
		shown[i] = Attempt{r.Number, r.Token, r.Place, known(r.StartedAt), known(r.EndedAt), r.Fault}
	}
	return shown
}

// known is nil for a time that is not.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func presentPage(page queue.Page) *output[TaskPage] {
	body := TaskPage{Tasks: make([]Task, len(page.Tasks)), Cursor: page.Cursor}
	for i, t := range page.Tasks {
		body.Tasks[i] = present(t)
	}
	return &output[TaskPage]{body}
}
