package slurm

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

func python(t *testing.T) string {
	for _, path := range []string{"/usr/bin/python3", "/usr/local/bin/python3"} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Skip("there is no /usr/bin/python3")
	return ""
}

// decode reads a JSON list into as many values.
func decode(t *testing.T, text string, into ...any) {
	t.Helper()
	var parts []json.RawMessage
	if err := json.Unmarshal([]byte(text), &parts); err != nil {
		t.Fatalf("%v: %.300q", err, text)
	}
	for i, value := range into {
		if err := json.Unmarshal(parts[i], value); err != nil {
			t.Fatal(err)
		}
	}
}

func wantRejected(t *testing.T, err error, code string) string {
	t.Helper()
	rejected, ok := errors.AsType[*backend.Rejected](err)
	if !ok || rejected.Code != code {
		t.Errorf("got %v, want it rejected with %s", err, code)
		return ""
	}
	return rejected.Message
}

func wantFault(t *testing.T, err error, code string) {
	t.Helper()
	if fault, ok := errors.AsType[*backend.Fault](err); !ok || fault.Code != code {
		t.Errorf("got %v, want a fault %s", err, code)
	}
}

func jobOf(t *testing.T, place string) string {
	t.Helper()
	number, ok := strings.CutPrefix(place, "slurm job ")
	if !ok {
		t.Fatalf("started at %q", place)
	}
	return number
}

func wantNoLive(t *testing.T, b *Backend, task queue.Task) {
	t.Helper()
	jobs, err := b.control.find(t.Context(), b.name(task))
	if err != nil || len(jobs) == 0 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	for _, j := range jobs {
		if j.verdict() == unended {
			t.Errorf("still there: %+v", j)
		}
	}
}

// hasten lets a requeued job start soon. Not at once: a node refuses credentials of the second in which it ended
// the job before, which is why Slurm itself waits longer.
func hasten(t *testing.T, c *slurmtest.Cluster, b *Backend, task queue.Task) {
	t.Helper()
	eventually(t, "the job waits again", func() bool {
		jobs, err := b.control.find(t.Context(), b.name(task))
		return err == nil && len(jobs) == 1 && jobs[0].state == pending && jobs[0].restarts == 1
	})
	out, err := c.Command("squeue", "--noheader", "--states=PENDING", "--format=%A", "--name="+b.name(task))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Command("scontrol", "update", "JobId="+strings.TrimSpace(out), "StartTime=now+3"); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what only asking can tell.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !done() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// openAll lets every user see a file that a job waits for.
func openAll(t *testing.T, gate string) {
	t.Helper()
	for dir := filepath.Dir(gate); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, gate string) {
	t.Helper()
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
}
