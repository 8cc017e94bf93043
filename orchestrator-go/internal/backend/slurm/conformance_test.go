package slurm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

// Both controls hold to the same suite, with a real Slurm.
func TestConformance(t *testing.T) {
	t.Parallel()
	c := slurmtest.Start(t)
	t.Run("cli", func(t *testing.T) {
		conform(t, c, func(t *testing.T, change ...func(*Options)) *Backend { return overCLI(t, c, change...) })
	})
	t.Run("rest", func(t *testing.T) {
		url, user, err := c.REST()
		if err != nil {
			t.Fatal(err)
		}
		conform(t, c, func(t *testing.T, change ...func(*Options)) *Backend { return overREST(t, c, url, user, change...) })
	})
}

type maker func(t *testing.T, change ...func(*Options)) *Backend

func conform(t *testing.T, c *slurmtest.Cluster, make maker) {
	for name, check := range map[string]func(*testing.T, *slurmtest.Cluster, maker){
		"what any backend does":               func(t *testing.T, _ *slurmtest.Cluster, make maker) { backendtest.Run(t, make(t)) },
		"arguments arrive as they are":        arguments,
		"ends":                                endings,
		"output":                              output,
		"options":                             options,
		"options that were not given":         noRequeue,
		"refusals":                            refusals,
		"timeout":                             timeout,
		"array":                               arrays,
		"cancelled by somebody":               cancelledOutside,
		"cancelling":                          cancelling,
		"found again":                         foundAgain,
		"found again after it ended":          foundEnded,
		"lost reply":                          lostReply,
		"requeued":                            requeued,
		"without a spool":                     withoutSpool,
		"many at once":                        many,
		"environment that changes a command":  hostile,
		"a job of the same name of another's": stranger,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, c, make)
		})
	}
}

func arguments(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	given := []string{
		"-c", "--wrap=x", "--", "", " ", "a b", "line\nJobState=COMPLETED\n", "tab\t", `"'`, "$HOME `id` $(id)", "\\n\\", "*?[a-z]", "äöü ☃ 🙂",
		"%j%A", "a|b;c&d>e", "!!", "~", "=", "A=B", "\x01\x7f", strings.Repeat("long ", 2000),
	}
	env := map[string]string{"LINES": "one\ntwo=2\n", "QUOTES": `"'\`, "EMPTY": "", "COMMAS": "a,b,ALL", "_dspy_code": "mine", "PATH": "/nowhere"}
	script := `import os, sys, json; json.dump([sys.argv[1:], {k: os.environ.get(k) for k in %q.split()}, [k for k in os.environ if k.startswith("_DSPY")],
os.environ["DSPY_FENCING_TOKEN"]], sys.stdout)`
	names := "LINES QUOTES EMPTY COMMAS _dspy_code PATH"
	task := taskOf(queue.Spec{Argv: append([]string{python(t), "-c", fmt.Sprintf(script, names)}, given...), Env: env, OutputLimitBytes: 1 << 20})
	result := begin(t, b, task).result()
	var seen struct {
		args  []string
		env   map[string]string
		ours  []string
		token string
	}
	decode(t, result.Stdout, &seen.args, &seen.env, &seen.ours, &seen.token)
	if !slices.Equal(seen.args, given) {
		t.Errorf("arguments: got %q", seen.args)
	}
	for name, value := range env {
		if seen.env[name] != value {
			t.Errorf("%s: got %q, want %q", name, seen.env[name], value)
		}
	}
	if len(seen.ours) != 0 || seen.token != "7" {
		t.Errorf("got %q, token %q", seen.ours, seen.token)
	}
}

func endings(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	for _, c := range []struct {
		script, reason string
		exit, signal   int
	}{
		{"exit 0", "Completed", 0, 0},
		{"exit 3", "NonZeroExit", 3, 0},
		{"exit 126", "NonZeroExit", 126, 0},
		{"exit 127", "NonZeroExit", 127, 0},
		{"kill -9 $$", "Signaled", 0, 9},
		{"kill -TERM $$", "Signaled", 0, 15},
	} {
		t.Run(c.script, func(t *testing.T) {
			t.Parallel()
			r := begin(t, b, taskOf(queue.Spec{Argv: sh(c.script)})).result()
			switch {
			case r.Reason != c.reason, c.signal == 0 && (r.ExitCode == nil || *r.ExitCode != c.exit), c.signal != 0 && (r.Signal == nil || *r.Signal != c.signal):
				t.Errorf("got %+v", r)
			case r.Stderr != "":
				t.Errorf("the wrapper's words are in the output: %q", r.Stderr)
			}
		})
	}
	for name, spec := range map[string]queue.Spec{
		"no such directory": {Argv: []string{"/bin/true"}, Cwd: "/no/such/directory"},
		"a builtin":         {Argv: []string{"eval", "exit 0"}},
		"not a program":     {Argv: []string{"/etc/passwd"}},
		"a directory":       {Argv: []string{"/etc"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := begin(t, b, taskOf(spec)).end()
			wantRejected(t, err, "CannotStart")
		})
	}
}

func output(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	gate := filepath.Join(t.TempDir(), "gate")
	openAll(t, gate)
	task := taskOf(queue.Spec{
		Argv:             sh(`cat; printf '\377end' ; echo error >&2; pwd >&2; while [ ! -e ` + gate + ` ]; do sleep 0.05; done; echo more`),
		Stdin:            strings.Repeat("0123456789", 1000),
		OutputLimitBytes: 100,
	})
	u := begin(t, b, task)
	u.awaitStart()
	var text []byte
	for offset, deadline := int64(0), time.Now().Add(patience); len(text) < 10_004; {
		chunk, next, err := b.Tail(t.Context(), task, offset)
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("after %d bytes: %v", offset, err)
		}
		text, offset = append(text, chunk...), next
	}
	if string(text) != task.Spec.Stdin+"\xffend" {
		t.Errorf("the tail was %q", text)
	}
	open(t, gate)
	r := u.result()
	if r.StdoutBytes != 10_009 || !r.StdoutTruncated || !strings.HasSuffix(r.Stdout, "89\uFFFDendmore\n") {
		t.Errorf("stdout: %d bytes, truncated %v, %q", r.StdoutBytes, r.StdoutTruncated, r.Stdout)
	}
	if r.StderrTruncated || !strings.HasPrefix(r.Stderr, "error\n/") || !strings.HasSuffix(r.Stderr, "/work\n") {
		t.Errorf("stderr: %q", r.Stderr)
	}
}

func options(t *testing.T, c *slurmtest.Cluster, make maker) {
	u := begin(t, make(t), taskOf(queue.Spec{
		Argv: sh(`echo $SLURM_CPUS_PER_TASK $SLURM_NTASKS_PER_NODE $SLURM_JOB_PARTITION $SLURM_JOB_NUM_NODES`),
		Slurm: &queue.Slurm{
			Partition: "low", Nodes: 1, TasksPerNode: 2, CPUsPerTask: 3, MemoryMB: 100, TimeLimitMinutes: 5, Requeue: true,
		},
	}))
	record, err := c.Command("scontrol", "show", "job", jobOf(t, u.awaitStart()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"CPUs/Task=3", "NtasksPerN:B:S:C=2:", "MinMemoryNode=100M", "TimeLimit=00:05:00", "Requeue=1", "Partition=low", "token=7"} {
		if !strings.Contains(record, want) {
			t.Errorf("%s is missing in %s", want, record)
		}
	}
	r := u.result()
	if r.Stdout != "3 2 low 1\n" {
		t.Errorf("got %q", r.Stdout)
	}
}

func noRequeue(t *testing.T, c *slurmtest.Cluster, make maker) {
	u := begin(t, make(t), taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}}))
	record, err := c.Command("scontrol", "show", "job", jobOf(t, u.awaitStart()))
	if err != nil || !strings.Contains(record, "Requeue=0") || !strings.Contains(record, "TimeLimit=00:01:00") {
		t.Errorf("%v: %s", err, record)
	}
	u.cancel(backend.ErrCancelled)
	_, _ = u.end()
}

func refusals(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	_, err := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/true"}, Slurm: &queue.Slurm{Partition: "nowhere"}})).end()
	if message := wantRejected(t, err, "SlurmRefused"); !strings.Contains(message, "nvalid partition") {
		t.Errorf("Slurm's own words are missing: %s", message)
	}
	for _, o := range []queue.Slurm{
		{Partition: "a b"}, {Account: "--wrap=id"}, {Account: "-x"}, {Constraint: "a\nb"}, {Gres: "gpu:1 --uid=0"}, {Array: "0-9;id"}, {Nodes: -1},
	} {
		_, err := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/true"}, Slurm: &o})).end()
		wantRejected(t, err, "InvalidSlurmOption")
	}
}

func timeout(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	task := taskOf(queue.Spec{Argv: sh("echo begun; sleep 60"), TimeoutMS: 300})
	for range 2 { // the second time it is found: a timeout is a result like any other
		r := begin(t, b, task).result()
		if r.Reason != "TimedOut" || r.ExitCode != nil || r.Stdout != "begun\n" {
			t.Errorf("got %+v", r)
		}
	}
}

func arrays(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	task := taskOf(queue.Spec{Argv: sh("exit $SLURM_ARRAY_TASK_ID"), Slurm: &queue.Slurm{Array: "0-4,7%3"}})
	for range 2 {
		r := begin(t, b, task).result()
		if r.Reason != "NonZeroExit" || *r.ExitCode != 1 {
			t.Errorf("got %+v", r)
		}
	}
	if r := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/true"}, Slurm: &queue.Slurm{Array: "3"}})).result(); r.Reason != "Completed" {
		t.Errorf("got %+v", r)
	}
	u := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}, Slurm: &queue.Slurm{Array: "0-20%2"}}))
	u.awaitStart()
	u.cancel(backend.ErrCancelled)
	if _, err := u.end(); !errors.Is(err, backend.ErrCancelled) {
		t.Error(err)
	}
	wantNoLive(t, b, u.task)
}

func cancelledOutside(t *testing.T, c *slurmtest.Cluster, make maker) {
	u := begin(t, make(t), taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}, Slurm: &queue.Slurm{Requeue: true}}))
	if _, err := c.Command("scancel", jobOf(t, u.awaitStart())); err != nil {
		t.Fatal(err)
	}
	_, err := u.end()
	wantRejected(t, err, "SlurmCancelled")
}

func cancelling(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	u := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}}))
	u.awaitStart()
	u.cancel(backend.ErrCancelled)
	if _, err := u.end(); !errors.Is(err, backend.ErrCancelled) {
		t.Error(err)
	}
	wantNoLive(t, b, u.task)
}

func foundAgain(t *testing.T, _ *slurmtest.Cluster, make maker) {
	before, gate := make(t), filepath.Join(t.TempDir(), "gate")
	openAll(t, gate)
	u := begin(t, before, taskOf(queue.Spec{Argv: sh("echo $SLURM_JOB_ID; while [ ! -e " + gate + " ]; do sleep 0.05; done; exit 4")}))
	place := u.awaitStart()
	u.cancel(backend.ErrDetached)
	if _, err := u.end(); !errors.Is(err, backend.ErrDetached) {
		t.Fatal(err)
	}
	before.Close()
	again := begin(t, make(t), u.task)
	if found := again.awaitStart(); found != place {
		t.Errorf("%s was taken up, not %s", found, place)
	}
	open(t, gate)
	if r := again.result(); r.Reason != "NonZeroExit" || *r.ExitCode != 4 || r.Stdout != jobOf(t, place)+"\n" {
		t.Errorf("got %+v", r)
	}
}

func foundEnded(t *testing.T, _ *slurmtest.Cluster, make maker) {
	task := taskOf(queue.Spec{Argv: sh("echo $SLURM_JOB_ID; exit 5")})
	first := begin(t, make(t), task).result()
	second := begin(t, make(t), task).result()
	if *second.ExitCode != 5 || second.Stdout != first.Stdout {
		t.Errorf("it ran again: %+v, %+v", first, second)
	}
}

// forgetful loses the replies to the first submissions.
type forgetful struct {
	control
	lose int
}

func (f *forgetful) submit(ctx context.Context, s submission) (int64, error) {
	id, err := f.control.submit(ctx, s)
	if f.lose--; f.lose >= 0 && err == nil {
		return 0, &failure{message: "the reply was lost"}
	}
	return id, err
}

func lostReply(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	b.control = &forgetful{b.control, 1}
	task := taskOf(queue.Spec{Argv: []string{"/bin/true"}})
	begin(t, b, task).result()
	jobs, err := b.control.find(t.Context(), b.name(task))
	if err != nil || len(jobs) != 1 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
}

func requeued(t *testing.T, c *slurmtest.Cluster, make maker) {
	b := make(t)
	task := taskOf(queue.Spec{
		Argv: sh(`echo run ${SLURM_RESTART_COUNT:-0}; [ -n "$SLURM_RESTART_COUNT" ] || sleep 60`), Slurm: &queue.Slurm{Requeue: true},
	})
	u := begin(t, b, task)
	if _, err := c.Command("scontrol", "requeue", jobOf(t, u.awaitStart())); err != nil {
		t.Fatal(err)
	}
	// Slurm starts a requeued job a minute or two later, by a rule of its own; a person may hasten it.
	hasten(t, c, b, task)
	if r := u.result(); r.Reason != "Completed" || r.Stdout != "run 1\n" {
		t.Errorf("got %+v", r)
	}
}

func withoutSpool(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t, func(o *Options) { o.Spool = "" })
	r := begin(t, b, taskOf(queue.Spec{Argv: sh("echo lost; exit 6")})).result()
	if *r.ExitCode != 6 || r.Stdout != "" || r.StdoutBytes != 0 {
		t.Errorf("got %+v", r)
	}
	if r := begin(t, b, taskOf(queue.Spec{Argv: sh("kill -9 $$")})).result(); r.Reason != "Signaled" || *r.Signal != 9 {
		t.Errorf("got %+v", r)
	}
	_, err := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/cat"}, Stdin: "x"})).end()
	wantRejected(t, err, "StdinUnsupported")
}

// many are more than REST asks for one by one.
func many(t *testing.T, _ *slurmtest.Cluster, make maker) {
	b := make(t)
	var all []*underway
	for i := range fewJobs + 4 {
		all = append(all, begin(t, b, taskOf(queue.Spec{Argv: sh(fmt.Sprintf("sleep 0.5; exit %d", i))})))
	}
	for i, u := range all {
		if r := u.result(); *r.ExitCode != i {
			t.Errorf("%d: got %+v", i, r)
		}
	}
}

// What a task's environment says is for its command, not for those that submit it.
func hostile(t *testing.T, _ *slurmtest.Cluster, make maker) {
	env := map[string]string{"SLURM_CONF": "/nowhere", "LD_PRELOAD": "/nowhere.so", "SBATCH_PARTITION": "nowhere", "SLURM_EXIT_ERROR": "0"}
	r := begin(t, make(t), taskOf(queue.Spec{Argv: sh("echo $SBATCH_PARTITION"), Env: env})).result()
	if r.Reason != "Completed" || r.Stdout != "nowhere\n" {
		t.Errorf("got %+v", r)
	}
}

func stranger(t *testing.T, c *slurmtest.Cluster, make maker) {
	if os.Geteuid() != 0 {
		t.Skip("only root can submit a job as another user")
	}
	b := make(t)
	task := taskOf(queue.Spec{Argv: sh("exit 3")})
	if _, err := c.Command("sbatch", "--uid=daemon", "--chdir=/", "--output=/dev/null", "--job-name="+b.name(task), "--wrap=true"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(c.Spool, task.ID), 0o777); err != nil { // as if it had been submitted before
		t.Fatal(err)
	}
	if r := begin(t, b, task).result(); *r.ExitCode != 3 {
		t.Errorf("another's job was taken up: %+v", r)
	}
}
