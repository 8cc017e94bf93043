package httpapi

import (
	"cmp"
	"errors"
	"strings"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Defaults of a task.
const (
	defaultOutput   = 64 << 10
	defaultTimeout  = 60_000
	defaultAttempts = 3
)

// horizon is how far ahead a task may be put.
const horizon = 366 * 24 * time.Hour

// TaskSpec is a task as a client asks for it.
type TaskSpec struct {
	Argv             []string          `json:"argv,omitempty" maxItems:"4096" doc:"Program and arguments; never a shell string. Required unless noop or scope."`
	Cwd              string            `json:"cwd,omitempty" maxLength:"4096" doc:"Working directory, relative to the workspace."`
	Env              map[string]string `json:"env,omitempty" doc:"Added to the runner's environment, as are DSPY_TASK_ID, which a command gives its children as their parent, and DSPY_FENCING_TOKEN, which grows with every attempt."`
	Stdin            string            `json:"stdin,omitempty" maxLength:"1048576" doc:"Standard input, UTF-8."`
	TimeoutMS        int64             `json:"timeout_ms,omitempty" minimum:"1" maximum:"86400000" default:"60000" doc:"Of one attempt: after which the command is killed, in milliseconds."`
	OutputLimitBytes int64             `json:"output_limit_bytes,omitempty" minimum:"0" maximum:"1048576" default:"65536" doc:"Kept of each of stdout and stderr."`
	Class            queue.Class       `json:"class,omitempty" enum:"Interactive,Short,Long" default:"Short" doc:"How long the task is expected to take. Classes take turns to begin, each within a limit of its own, and label the metrics."`
	MaxAttempts      int               `json:"max_attempts,omitempty" minimum:"1" maximum:"20" default:"3" doc:"Attempts in all, when the infrastructure fails. A command that fails is not repeated."`
	IdempotencyKey   string            `json:"idempotency_key,omitempty" maxLength:"256" doc:"Tasks of a tenant sent with the same key are one task, until its result expires."`
	Noop             bool              `json:"noop,omitempty" doc:"Go the whole way to a runner, but run nothing; to measure."`

	Tenant     string     `json:"tenant,omitempty" maxLength:"63" pattern:"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" patternDescription:"a namespace's name: a-z, 0-9 and -" doc:"Whose the task is; your own by default. Only those who may create tasks there can name another."`
	Priority   int        `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Among one tenant's tasks: the highest first."`
	DelayMS    int64      `json:"delay_ms,omitempty" minimum:"1" maximum:"31622400000" doc:"Not begun earlier than this long from now, in milliseconds."`
	NotBefore  *time.Time `json:"not_before,omitempty" doc:"Not begun earlier; instead of delay_ms."`
	DeadlineMS int64      `json:"deadline_ms,omitempty" minimum:"1" maximum:"31622400000" doc:"The task, with all its attempts and children, is ended this long from now, in milliseconds."`
	Deadline   *time.Time `json:"deadline,omitempty" doc:"When the task is ended, begun or not; instead of deadline_ms. Children inherit it."`
	Limit      *Limit     `json:"limit,omitempty" doc:"How many tasks of a kind run at once."`

	Parent   string `json:"parent,omitempty" pattern:"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$" patternDescription:"a task's id, a UUID" doc:"Task or scope that ends only after this one; cancelling it cancels this one, and its deadline and budget hold here too."`
	Scope    bool   `json:"scope,omitempty" doc:"Run nothing: be the parent of others, until it is closed and they have ended."`
	BudgetMS int64  `json:"budget_ms,omitempty" minimum:"1" maximum:"31622400000" doc:"Of run time, for the task and all its descendants together, in milliseconds. When it is spent they are ended."`

	Backend   string `json:"backend,omitempty" enum:"runner,slurm" default:"runner" doc:"Where it runs."`
	Workspace string `json:"workspace,omitempty" pattern:"^[0-9a-f]{64}$" patternDescription:"a SHA-256 in lower-case hex" doc:"SHA-256 of an archive in RedDB's blobs: the command runs in a copy of it."`
	Slurm     *Slurm `json:"slurm,omitempty" doc:"For backend slurm."`
}

// Limit holds tasks of one kind to so many at once.
type Limit struct {
	Key string `json:"key" minLength:"1" maxLength:"128" pattern:"^[A-Za-z0-9][A-Za-z0-9._:/@-]*$" patternDescription:"letters, digits and ._:/@-, a letter or digit first" doc:"Of all tasks of the tenant that name it,"`
	Max int    `json:"max" minimum:"1" maximum:"100000" doc:"at most so many run at once. Of tasks that differ here, each keeps to its own."`
}

// Slurm is what a Slurm job asks for. No value begins with a dash or holds blanks: none can become an option.
type Slurm struct {
	Account          string `json:"account,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$" patternDescription:"a name without blanks that does not begin with a dash"`
	Partition        string `json:"partition,omitempty" maxLength:"256" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.,@+-]*$" patternDescription:"names without blanks that do not begin with a dash"`
	QOS              string `json:"qos,omitempty" maxLength:"128" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.@+-]*$" patternDescription:"a name without blanks that does not begin with a dash"`
	Constraint       string `json:"constraint,omitempty" maxLength:"256" pattern:"^[A-Za-z0-9_\\[(][A-Za-z0-9_.,&|*()\\[\\]:=-]*$" patternDescription:"features joined by & | , ( ) [ ] and *, without blanks"`
	Reservation      string `json:"reservation,omitempty" maxLength:"256" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.,@+-]*$" patternDescription:"names without blanks that do not begin with a dash"`
	Gres             string `json:"gres,omitempty" maxLength:"256" pattern:"^[A-Za-z0-9_][A-Za-z0-9_.,:/=-]*$" patternDescription:"resources such as gpu:2, without blanks"`
	Array            string `json:"array,omitempty" maxLength:"256" pattern:"^[0-9]+(-[0-9]+(:[0-9]+)?)?(,[0-9]+(-[0-9]+(:[0-9]+)?)?)*(%[0-9]+)?$" patternDescription:"indices such as 0-9 or 1,3,5-7%2"`
	Nodes            int    `json:"nodes,omitempty" minimum:"1" maximum:"100000"`
	TasksPerNode     int    `json:"tasks_per_node,omitempty" minimum:"1" maximum:"100000"`
	CPUsPerTask      int    `json:"cpus_per_task,omitempty" minimum:"1" maximum:"100000"`
	MemoryMB         int64  `json:"memory_mb,omitempty" minimum:"1" maximum:"1073741824" doc:"Per node."`
	TimeLimitMinutes int    `json:"time_limit_minutes,omitempty" minimum:"1" maximum:"525600"`
	Requeue          bool   `json:"requeue,omitempty" doc:"After a node's failure or a preemption."`
}

func (s TaskSpec) spec(tenant string, now time.Time) queue.Spec {
	spec := queue.Spec{
		Argv: s.Argv, Cwd: s.Cwd, Env: s.Env, Stdin: s.Stdin, Noop: s.Noop,
		TimeoutMS: cmp.Or(s.TimeoutMS, defaultTimeout), OutputLimitBytes: cmp.Or(s.OutputLimitBytes, defaultOutput),
		Class: cmp.Or(s.Class, queue.Short), MaxAttempts: cmp.Or(s.MaxAttempts, defaultAttempts), IdempotencyKey: keyOf(tenant, s.IdempotencyKey),
		Tenant: tenant, Priority: s.Priority, NotBefore: moment(s.NotBefore, s.DelayMS, now), Deadline: moment(s.Deadline, s.DeadlineMS, now),
		Parent: s.Parent, Scope: s.Scope, BudgetMS: s.BudgetMS, Workspace: s.Workspace,
	}
	if s.Backend != queue.RunnerBackend {
		spec.Backend = s.Backend
	}
	if s.Limit != nil {
		spec.LimitKey, spec.LimitMax = s.Limit.Key, s.Limit.Max
	}
	if s.Slurm != nil {
		slurm := queue.Slurm(*s.Slurm)
		spec.Slurm = &slurm
	}
	return spec
}

// keyOf keeps one tenant's idempotency keys from meeting another's.
func keyOf(tenant, key string) string {
	if tenant == "" || key == "" {
		return key
	}
	return tenant + "\n" + key
}

// moment is a time given as such or from now on; zero when neither is.
func moment(at *time.Time, inMS int64, now time.Time) time.Time {
	switch {
	case at != nil:
		return at.UTC().Round(0)
	case inMS > 0:
		return now.Add(time.Duration(inMS) * time.Millisecond).UTC().Round(0)
	}
	return time.Time{}
}

// check holds what the schema cannot say.
func (s TaskSpec) check(now time.Time) error {
	for _, rule := range []func() error{s.checkCommand, func() error { return s.checkTimes(now) }, s.checkPlace} {
		if err := rule(); err != nil {
			return err
		}
	}
	return nil
}

func (s TaskSpec) checkCommand() error {
	switch {
	case s.Scope && (s.Noop || len(s.Argv) > 0):
		return errors.New("a scope runs nothing; leave out argv and noop, and send the command as its child")
	case s.Noop && len(s.Argv) > 0:
		return errors.New("a noop takes no argv; leave one of them out")
	case !s.Noop && !s.Scope && len(s.Argv) == 0:
		return errors.New("argv needs at least a program")
	case len(s.Argv) > 0 && s.Argv[0] == "":
		return errors.New("argv[0] is empty; name a program")
	case strings.ContainsRune(s.Cwd, 0):
		return errors.New("argv and cwd cannot hold NUL characters")
	}
	for _, arg := range s.Argv {
		if strings.ContainsRune(arg, 0) {
			return errors.New("argv and cwd cannot hold NUL characters")
		}
	}
	for name, value := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return errors.New(`env names must not be empty or hold "=", and nothing in env a NUL character`)
		}
	}
	return nil
}

func (s TaskSpec) checkTimes(now time.Time) error {
	begin, end := moment(s.NotBefore, s.DelayMS, now), moment(s.Deadline, s.DeadlineMS, now)
	switch {
	case s.NotBefore != nil && s.DelayMS != 0:
		return errors.New("give not_before or delay_ms, not both")
	case s.Deadline != nil && s.DeadlineMS != 0:
		return errors.New("give deadline or deadline_ms, not both")
	case s.IdempotencyKey != "" && (s.DelayMS != 0 || s.DeadlineMS != 0):
		return errors.New("with an idempotency_key, give not_before and deadline: sent again, a time from now would make it another task")
	case begin.After(now.Add(horizon)) || end.After(now.Add(horizon)):
		return errors.New("not_before and deadline can be a year from now at most")
	case !end.IsZero() && !end.After(now):
		return errors.New("the deadline has passed")
	case !end.IsZero() && !end.After(begin):
		return errors.New("the deadline comes before the task may begin")
	}
	return nil
}

func (s TaskSpec) checkPlace() error {
	switch {
	case s.Slurm != nil && s.Backend != queue.SlurmBackend:
		return errors.New(`slurm's options need "backend": "slurm"`)
	case s.Scope && (s.Backend == queue.SlurmBackend || s.Workspace != "" || s.Limit != nil):
		return errors.New("a scope runs nothing; leave out backend, workspace and limit")
	}
	return nil
}
