package main_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// TestASlurmJobOutlastsItsOrchestrator has a real Slurm.
func TestASlurmJobOutlastsItsOrchestrator(t *testing.T) {
	if missing := slurmtest.Missing(); len(missing) > 0 {
		t.Skipf("Slurm is not installed (make setup does it): no %s", strings.Join(missing, ", "))
	}
	cluster := slurmtest.Start(t)
	spool := t.TempDir()
	p := start(t, queuetest.StartRedDB(t), fakerunner.Start(t, 4).URL,
		"--slurm", "cli", "--slurm-conf", cluster.Conf, "--slurm-spool", spool)
	gate := filepath.Join(spool, "gate")
	id := p.submit(t, fmt.Sprintf(`{"backend":"slurm","max_attempts":1,"timeout_ms":600000,
		"argv":["/bin/sh","-c","echo begun; until test -e \"$1\"; do sleep 0.05; done; echo \"$2\"","sh",%q,"a 'b' $HOME"]}`, gate))
	running := p.await(t, id, "Running")
	if !strings.HasPrefix(running.Place, "slurm job ") {
		t.Errorf("it runs at %q", running.Place)
	}
	p.kill(t)
	p.launch(t)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	done := p.await(t, id, "Succeeded")
	if done.Attempts != 1 || done.Place != running.Place || done.Result == nil || done.Result.Stdout != "begun\na 'b' $HOME\n" {
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
