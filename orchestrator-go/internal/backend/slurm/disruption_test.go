package slurm

import (
	"path/filepath"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

// gated is a command that ends when a file appears, then says which run of the job it is.
func gated(t *testing.T) (gate string, argv []string) {
	gate = filepath.Join(t.TempDir(), "gate")
	openAll(t, gate)
	return gate, sh("while [ ! -e " + gate + " ]; do sleep 0.05; done; echo run ${SLURM_RESTART_COUNT:-0}; exit 3")
}

func controller(t *testing.T, c *slurmtest.Cluster, more ...string) {
	t.Helper()
	if err := c.StartController(more...); err != nil {
		t.Fatal(err)
	}
}

// awaitState waits until Slurm itself says so of the task's job.
func awaitState(t *testing.T, b *Backend, task queue.Task, wanted state) {
	t.Helper()
	eventually(t, string(wanted), func() bool {
		jobs, err := b.control.find(t.Context(), b.name(task))
		return err == nil && len(jobs) == 1 && jobs[0].state == wanted
	})
}

func TestControllerRestarts(t *testing.T) {
	t.Parallel()
	c := slurmtest.Start(t)
	b := overCLI(t, c)
	t.Run("while a job runs", func(t *testing.T) {
		gate, argv := gated(t)
		u := begin(t, b, taskOf(queue.Spec{Argv: argv}))
		u.awaitStart()
		c.StopController()
		open(t, gate)
		controller(t, c)
		if r := u.result(); *r.ExitCode != 3 || r.Stdout != "run 0\n" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("before a submission", func(t *testing.T) {
		c.KillController()
		u := begin(t, b, taskOf(queue.Spec{Argv: sh("exit 3")}))
		controller(t, c)
		if r := u.result(); *r.ExitCode != 3 {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("for good", func(t *testing.T) {
		hasty := overCLI(t, c, func(o *Options) { o.Patience, o.CallTimeout = time.Second, 2*time.Second })
		_, argv := gated(t)
		u := begin(t, hasty, taskOf(queue.Spec{Argv: argv}))
		u.awaitStart()
		c.KillController()
		_, err := u.end()
		wantFault(t, err, "SlurmUnreachable")
		_, err = begin(t, hasty, taskOf(queue.Spec{Argv: argv})).end()
		wantFault(t, err, "SlurmUnreachable")
		controller(t, c)
	})
}

// A Slurm that has forgotten a job does not lose its end: the job's own script wrote it down.
func TestVanished(t *testing.T) {
	t.Parallel()
	c := slurmtest.Start(t)
	ended := func(t *testing.T, b *Backend) *underway {
		gate, argv := gated(t)
		u := begin(t, b, taskOf(queue.Spec{Argv: argv}))
		u.awaitStart()
		c.KillController()
		open(t, gate)
		return u
	}
	t.Run("with a spool", func(t *testing.T) {
		b := overCLI(t, c)
		u := ended(t, b)
		eventually(t, "the wrapper wrote the end", func() bool {
			ends, err := filepath.Glob(filepath.Join(c.Spool, u.task.ID, "*.end"))
			return err == nil && len(ends) == 1
		})
		controller(t, c, "-c")
		if r := u.result(); *r.ExitCode != 3 || r.Stdout != "run 0\n" {
			t.Errorf("got %+v", r)
		}
		if r := begin(t, overCLI(t, c), u.task).result(); *r.ExitCode != 3 || r.Stdout != "run 0\n" {
			t.Errorf("found again: %+v", r)
		}
	})
	t.Run("without", func(t *testing.T) {
		u := ended(t, overCLI(t, c, func(o *Options) { o.Spool, o.VanishWait, o.CallTimeout = "", 200*time.Millisecond, 2*time.Second }))
		controller(t, c, "-c")
		_, err := u.end()
		wantFault(t, err, "SlurmJobVanished")
	})
}

func TestNodeFails(t *testing.T) {
	t.Parallel()
	c := slurmtest.Start(t)
	b := overCLI(t, c)
	down := func(t *testing.T) {
		t.Helper()
		c.KillNode()
		if _, err := c.Command("scontrol", "update", "NodeName="+c.Node, "State=DOWN", "Reason=test"); err != nil {
			t.Fatal(err)
		}
	}
	up := func(t *testing.T) {
		t.Helper()
		if err := c.StartNode(); err != nil {
			t.Fatal(err)
		}
		_, err := c.Command("scontrol", "update", "NodeName="+c.Node, "State=RESUME")
		if err != nil {
			t.Log(err) // it resumed by itself
		}
	}
	t.Run("once and for all", func(t *testing.T) {
		u := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}}))
		place := u.awaitStart()
		down(t)
		_, err := u.end()
		wantFault(t, err, "SlurmNodeFailed")
		up(t)
		again := begin(t, b, u.task) // the next attempt is another job
		if next := again.awaitStart(); next == place {
			t.Errorf("%s was taken up", next)
		}
		again.cancel(nil)
		_, _ = again.end()
	})
	t.Run("and the job is requeued", func(t *testing.T) {
		gate, argv := gated(t)
		task := taskOf(queue.Spec{Argv: argv, Slurm: &queue.Slurm{Requeue: true}})
		u := begin(t, b, task)
		u.awaitStart()
		down(t)
		awaitState(t, b, task, pending)
		open(t, gate)
		up(t)
		hasten(t, c, b, task)
		if r := u.result(); *r.ExitCode != 3 || r.Stdout != "run 1\n" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestPreempted(t *testing.T) {
	t.Parallel()
	c := slurmtest.Start(t)
	b := overCLI(t, c)
	whole := func(partition string) *queue.Slurm {
		return &queue.Slurm{Partition: partition, CPUsPerTask: slurmtest.CPUs, Requeue: true}
	}
	t.Run("and requeued", func(t *testing.T) {
		gate, argv := gated(t)
		task := taskOf(queue.Spec{Argv: argv, Slurm: whole("low")})
		low := begin(t, b, task)
		low.awaitStart()
		if r := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/true"}, Slurm: whole("high")})).result(); r.Reason != "Completed" {
			t.Errorf("got %+v", r)
		}
		open(t, gate)
		hasten(t, c, b, task)
		if r := low.result(); *r.ExitCode != 3 || r.Stdout != "run 1\n" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("for good", func(t *testing.T) {
		low := begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/sleep", "60"}, Slurm: whole("expendable")}))
		low.awaitStart()
		begin(t, b, taskOf(queue.Spec{Argv: []string{"/bin/true"}, Slurm: whole("high")})).result()
		_, err := low.end()
		wantFault(t, err, "SlurmPreempted")
	})
}
