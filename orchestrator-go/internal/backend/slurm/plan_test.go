package slurm

import (
	"slices"
	"testing"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// A copy of some other job's environment must not make this job that one.
func TestSlurmsOwnVariablesStay(t *testing.T) {
	task := taskOf(queue.Spec{Argv: sh("exit 1"), Slurm: &queue.Slurm{CPUsPerTask: 2}, Env: map[string]string{
		"SLURM_ARRAY_TASK_ID": "3", "SLURM_RESTART_COUNT": "5", "SLURM_CPUS_PER_TASK": "64", "_DSPY_ARGC": "9", "MINE": "kept",
	}})
	got := environment(backend.Attempt{Task: task, Token: 7}, "/spool/x", "/tmp")
	want := []string{
		"PATH=" + defaultPath, "SLURM_CPUS_PER_TASK=2", "MINE=kept", "DSPY_TASK_ID=" + task.ID, "DSPY_FENCING_TOKEN=7",
		"_DSPY_FOLDER=/spool/x", "_DSPY_CWD=/tmp", "_DSPY_ARGC=3", "_DSPY_ARG_0=/bin/sh", "_DSPY_ARG_1=-c", "_DSPY_ARG_2=exit 1",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestTheTimeLimitIsThePartitionsWhereNothingElseIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		timeoutMS int64
		chosen    int
		want      int64
	}{{60_001, 0, 2}, {86_400_000, 0, 0}, {86_400_000, 720, 720}} {
		got := minutes(queue.Spec{TimeoutMS: c.timeoutMS}, queue.Slurm{TimeLimitMinutes: c.chosen})
		if got != c.want {
			t.Errorf("timeout %d ms, limit %d min: Slurm gets %d, not %d", c.timeoutMS, c.chosen, got, c.want)
		}
	}
}
