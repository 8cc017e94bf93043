package main_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// slurm starts one, and says which flags make an orchestrator use it.
func slurm(t *testing.T) (cluster *slurmtest.Cluster, spool string, flags []string) {
	if missing := slurmtest.Missing(); len(missing) > 0 {
		t.Skipf("Slurm is not installed (make setup does it): no %s", strings.Join(missing, ", "))
	}
	cluster, spool = slurmtest.Start(t), t.TempDir()
	return cluster, spool, []string{"--slurm", "cli", "--slurm-conf", cluster.Conf, "--slurm-spool", spool}
}

// gated is a job that ends when its gate is there.
func gated(gate string) string {
	return fmt.Sprintf(`{"backend":"slurm","max_attempts":1,"timeout_ms":600000,
		"argv":["/bin/sh","-c","echo begun; until test -e \"$1\"; do sleep 0.05; done; echo \"$2\"","sh",%q,"a 'b' $HOME"]}`, gate)
}

func open(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestASlurmJobOutlastsItsOrchestrator(t *testing.T) {
	cluster, spool, flags := slurm(t)
	p := start(t, queuetest.StartRedDB(t), fakerunner.Start(t, 4).URL, flags...)
	gate := filepath.Join(spool, "gate")
	id := p.submit(t, gated(gate))
	running := p.await(t, id, "Running")
	if !strings.HasPrefix(running.Place, "slurm job ") {
		t.Errorf("it runs at %q", running.Place)
	}
	p.kill(t)
	p.launch(t)
	open(t, gate)
	done := p.await(t, id, "Succeeded")
	if done.Attempts != 1 || done.Place != running.Place || done.Result == nil || done.Result.Stdout != "begun\na 'b' $HOME\n" ||
		done.Result.Slurm == nil || fmt.Sprintf("slurm job %d", done.Result.Slurm.JobID) != done.Place {
		t.Errorf("ended as %+v, %+v", done, done.Result)
	}
	cancelled := p.submit(t, `{"backend":"slurm","argv":["/bin/sleep","600"],"timeout_ms":600000}`)
	p.await(t, cancelled, "Running")
	p.call(t, "POST", "/v1/tasks/"+cancelled+"/cancel", "", http.StatusOK, nil)
	p.await(t, cancelled, "Cancelled")
	out, err := cluster.Command("squeue", "--noheader", "--states=RUNNING,PENDING")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("left in Slurm: %q, %v", out, err)
	}
	p.await(t, p.submit(t, `{"backend":"slurm","argv":["/bin/true"],"slurm":{"partition":"nowhere"}}`), "Failed")
}

// TestALeaderThatWasReplacedLeavesJobsAlone stops the leader for so long that another takes over, and lets it go on.
func TestALeaderThatWasReplacedLeavesJobsAlone(t *testing.T) {
	_, spool, flags := slurm(t)
	store, fake := queuetest.StartRedDB(t), fakerunner.Start(t, 4)
	first := start(t, store, fake.URL, flags...)
	gate := filepath.Join(spool, "gate")
	id := first.submit(t, gated(gate))
	running := first.await(t, id, "Running")
	first.signal(t, syscall.SIGSTOP)
	second := start(t, store, fake.URL, flags...)
	second.awaitLead(t)
	first.signal(t, syscall.SIGCONT)
	queuetest.Eventually(t, patience, "the first has noticed", func() bool { return first.metric(t, "dspy_orchestrator_leads") == "0" })
	first.terminate(t)
	if task := second.get(t, id); task.State != "Running" && task.State != "Queued" {
		t.Errorf("the job is %s", task.State)
	}
	open(t, gate)
	done := second.await(t, id, "Succeeded")
	if done.Attempts != 1 || done.Place != running.Place {
		t.Errorf("ended as %+v; it ran at %s", done, running.Place)
	}
}

// Its leader died before the request came, and the next one has never seen the job.
func TestWhatIsCancelledWhileNobodyLeadsIsEndedInSlurm(t *testing.T) {
	cluster, spool, flags := slurm(t)
	store := queuetest.StartRedDB(t)
	p := start(t, store, fakerunner.Start(t, 4).URL, flags...)
	id := p.submit(t, gated(filepath.Join(spool, "gate")))
	p.await(t, id, "Running")
	p.kill(t)
	db := store.Client()
	q, err := queue.NewRedis(db, queue.Options{Prefix: "orchestrator/"})
	if err != nil {
		t.Fatal(err)
	}
	task, err := q.Cancel(t.Context(), id)
	q.Close()
	if err := errors.Join(err, db.Close()); err != nil || task.State != queue.Running {
		t.Fatalf("%s, %v", task.State, err)
	}
	p.launch(t)
	p.await(t, id, "Cancelled")
	queuetest.Eventually(t, patience, "the job is gone", func() bool {
		out, err := cluster.Command("squeue", "--noheader", "--states=RUNNING,PENDING,COMPLETING")
		return err == nil && strings.TrimSpace(out) == ""
	})
	if _, err := os.Lstat(filepath.Join(spool, id, "taken")); err != nil {
		t.Errorf("its folder is not marked: %v", err)
	}
}
