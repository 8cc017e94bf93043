package slurm

import (
	_ "embed"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

//go:embed wrapper.sh
var wrapper string

const (
	defaultPath = "/usr/local/bin:/usr/bin:/bin"
	// maxTime is Slurm's own bound of a time limit, a year, in minutes.
	maxTime = 365 * 24 * 60
	// longestTimeout is the API's own bound of a task's timeout, a day, in milliseconds.
	longestTimeout = 24 * 60 * 60 * 1000
)

// jobOptions are the options of a job that a task may choose, checked.
type jobOptions struct {
	queue.Slurm
}

// What the texts among a job's options may look like. They become values of options and fields of JSON, never
// shell; the patterns keep out what Slurm would read as something else than was meant.
var (
	aName      = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+@-]{0,127}$`)
	someNames  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.,+@-]{0,255}$`)
	constraint = regexp.MustCompile(`^[A-Za-z0-9_(\[][A-Za-z0-9_.&|*()\[\],:=-]{0,255}$`)
	resources  = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.:,=/()-]{0,255}$`)
	taskID     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// plan is an attempt, checked and ready to be submitted.
type plan struct {
	task    queue.Task
	folder  string // "" without a spool
	indices []int  // of an array's elements; nil for a single job
	submission
}

// plan checks a task. Errors are *backend.Rejected.
func (b *Backend) plan(a backend.Attempt) (plan, error) {
	spec := a.Task.Spec
	var chosen queue.Slurm
	if spec.Slurm != nil {
		chosen = *spec.Slurm
	}
	p := plan{task: a.Task}
	if err := b.refuse(a.Task, chosen); err != nil {
		return p, err
	}
	if chosen.Array != "" {
		var err error
		if p.indices, err = expandArray(chosen.Array); err != nil {
			return p, reject("InvalidSlurmOption", "slurm.array: "+err.Error())
		}
	}
	p.submission = submission{
		name:    b.name(a.Task),
		comment: fmt.Sprintf("dspy-agent token=%d attempt=%d", a.Token, a.Number),
		script:  wrapper,
		stdin:   "/dev/null", stdout: "/dev/null", stderr: "/dev/null",
		minutes: minutes(spec, chosen),
		options: jobOptions{chosen},
	}
	cwd := spec.Cwd
	if b.opt.Spool != "" {
		p.folder = filepath.Join(b.opt.Spool, a.Task.ID)
		files := filepath.Join(p.folder, "%j")
		if p.indices != nil {
			files = filepath.Join(p.folder, "%A_%a")
		}
		p.stdout, p.stderr = files+".out", files+".err"
		if spec.Stdin != "" {
			p.stdin = filepath.Join(p.folder, stdinName)
		}
		if cwd == "" {
			cwd = filepath.Join(p.folder, workName)
		}
	}
	if cwd == "" {
		cwd = "/tmp"
	}
	p.env = environment(a, p.folder, cwd)
	return p, nil
}

func (b *Backend) name(task queue.Task) string { return b.opt.NamePrefix + task.ID }

// refuse says what of a task no Slurm could carry out.
func (b *Backend) refuse(task queue.Task, chosen queue.Slurm) error {
	spec := task.Spec
	switch {
	case !taskID.MatchString(task.ID):
		return reject("InvalidTask", "the task's id cannot be part of a job's name")
	case len(spec.Argv) == 0 || spec.Argv[0] == "" || spec.Argv[0][0] == '-':
		return reject("CannotStart", "argv has to begin with a program")
	case spec.Workspace != "":
		return reject("WorkspaceUnsupported", "a Slurm job runs in its own folder; workspace is for the env runners")
	case spec.Stdin != "" && b.opt.Spool == "":
		return reject("StdinUnsupported", "standard input needs a folder that the orchestrator shares with Slurm's nodes; none is configured")
	case spec.Cwd != "" && !filepath.IsAbs(spec.Cwd):
		return reject("InvalidTask", "cwd has to be an absolute path on Slurm's nodes")
	}
	for _, text := range slices.Concat(spec.Argv, []string{spec.Cwd}, slices.Collect(maps.Values(spec.Env))) {
		if strings.ContainsRune(text, 0) {
			return reject("InvalidTask", "argv, cwd and env must not contain NUL")
		}
	}
	for name := range spec.Env {
		if !variable.MatchString(name) {
			return reject("InvalidTask", fmt.Sprintf("%.64q is no name of an environment variable", name))
		}
	}
	return refuseOptions(chosen)
}

func refuseOptions(o queue.Slurm) error {
	for _, c := range []struct {
		name, value string
		pattern     *regexp.Regexp
	}{
		{"account", o.Account, aName}, {"partition", o.Partition, someNames}, {"qos", o.QOS, aName},
		{"reservation", o.Reservation, someNames}, {"constraint", o.Constraint, constraint}, {"gres", o.Gres, resources},
	} {
		if c.value != "" && !c.pattern.MatchString(c.value) {
			return reject("InvalidSlurmOption", fmt.Sprintf("slurm.%s: %.128q is not of the form that Slurm takes", c.name, c.value))
		}
	}
	for _, c := range []struct {
		name  string
		value int64
	}{
		{"nodes", int64(o.Nodes)}, {"tasks_per_node", int64(o.TasksPerNode)}, {"cpus_per_task", int64(o.CPUsPerTask)},
		{"memory_mb", o.MemoryMB}, {"time_limit_minutes", int64(o.TimeLimitMinutes)},
	} {
		if c.value < 0 || c.value > 1<<31-1 {
			return reject("InvalidSlurmOption", fmt.Sprintf("slurm.%s: %d is out of range", c.name, c.value))
		}
	}
	return nil
}

// minutes is the time limit that Slurm is given: the task's own wish, else its timeout rounded up. The longest timeout
// there is says nothing of the job: 0, the partition's limit, where Slurm would hold a job that asks for more for ever.
func minutes(spec queue.Spec, chosen queue.Slurm) int64 {
	if chosen.TimeLimitMinutes > 0 {
		return min(int64(chosen.TimeLimitMinutes), maxTime)
	}
	if spec.TimeoutMS >= longestTimeout {
		return 0
	}
	return min((spec.TimeoutMS+59_999)/60_000, maxTime)
}

// environment is a job's: the task's, what says whose it is, and the command for the wrapper to run. Nothing of the
// orchestrator's own gets into it.
func environment(a backend.Attempt, folder, cwd string) []string {
	env := []string{"PATH=" + defaultPath}
	// sbatch tells a job what it asked for, slurmrestd does not; srun inside the job goes by it.
	if o := a.Task.Spec.Slurm; o != nil && o.CPUsPerTask > 0 {
		env = append(env, "SLURM_CPUS_PER_TASK="+strconv.Itoa(o.CPUsPerTask))
	}
	if o := a.Task.Spec.Slurm; o != nil && o.TasksPerNode > 0 {
		env = append(env, "SLURM_NTASKS_PER_NODE="+strconv.Itoa(o.TasksPerNode))
	}
	for name, value := range a.Task.Spec.Env {
		if !reserved(name) {
			env = append(env, name+"="+value)
		}
	}
	env = append(env,
		"DSPY_TASK_ID="+a.Task.ID, "DSPY_FENCING_TOKEN="+strconv.FormatInt(a.Token, 10),
		"_DSPY_FOLDER="+folder, "_DSPY_CWD="+cwd, "_DSPY_ARGC="+strconv.Itoa(len(a.Task.Spec.Argv)))
	for i, argument := range a.Task.Spec.Argv {
		env = append(env, fmt.Sprintf("_DSPY_ARG_%d=%s", i, argument))
	}
	return lastOfEach(env)
}

// reserved says that a variable is Slurm's or the wrapper's to set: one that came along in a copy of some job's
// environment would pass off this job as that one.
func reserved(name string) bool {
	return strings.HasPrefix(name, "SLURM_") || strings.HasPrefix(name, "_DSPY_")
}

// lastOfEach keeps one value per name, the last.
func lastOfEach(env []string) []string {
	at := map[string]int{}
	var kept []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if i, known := at[name]; known {
			kept[i] = entry
			continue
		}
		at[name] = len(kept)
		kept = append(kept, entry)
	}
	return kept
}

func reject(code, message string) error { return &backend.Rejected{Code: code, Message: message} }
