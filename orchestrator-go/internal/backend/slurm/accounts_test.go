package slurm

import (
	"testing"

	"dspyagent.io/orchestrator/internal/backend/slurm/slurmtest"
	"dspyagent.io/orchestrator/internal/queue"
)

// Where slurmdbd keeps accounts, they tell the end of what slurmctld has forgotten, without a spool too.
func TestAccounts(t *testing.T) {
	t.Parallel()
	c := slurmtest.StartWithAccounts(t)
	url, user, err := c.REST()
	if err != nil {
		t.Fatal(err)
	}
	without := func(o *Options) { o.Spool = "" }
	backends := map[string]*Backend{"cli": overCLI(t, c, without), "rest": overREST(t, c, url, user, without)}
	single := taskOf(queue.Spec{Argv: sh("exit 3")})
	array := taskOf(queue.Spec{Argv: sh("exit $SLURM_ARRAY_TASK_ID"), Slurm: &queue.Slurm{Array: "0-2"}})
	killed := taskOf(queue.Spec{Argv: sh("kill -9 $$")})
	for name, b := range backends {
		for _, task := range []queue.Task{single, array, killed} {
			begin(t, b, task).result()
		}
		eventually(t, "the accounts of "+name+" are complete", func() bool {
			ended := 0
			for _, task := range []queue.Task{single, array, killed} {
				past, err := b.control.past(t.Context(), b.name(task))
				if err != nil {
					t.Fatal(err)
				}
				for _, j := range past {
					if j.verdict() != unended {
						ended++
					}
				}
			}
			return ended == 5
		})
	}
	c.StopController()
	controller(t, c, "-c") // which forgets all jobs
	for name, b := range backends {
		t.Run(name, func(t *testing.T) {
			failedWith := func(r *queue.Result, code int) bool {
				if name == "rest" { // this version tells that it failed, and no code
					return r.Reason == "NonZeroExit" && r.ExitCode == nil
				}
				return r.Reason == "NonZeroExit" && r.ExitCode != nil && *r.ExitCode == code
			}
			if jobs, err := b.control.find(t.Context(), b.name(single)); err != nil || len(jobs) != 0 {
				t.Fatalf("slurmctld still knows %v, %v", jobs, err)
			}
			if r := begin(t, b, single).result(); !failedWith(r, 3) {
				t.Errorf("got %+v", r)
			}
			if r := begin(t, b, array).result(); !failedWith(r, 1) {
				t.Errorf("got %+v", r)
			}
			if r := begin(t, b, killed).result(); r.Signal == nil || *r.Signal != 9 {
				t.Errorf("got %+v", r)
			}
			if jobs, err := b.control.find(t.Context(), b.name(single)); err != nil || len(jobs) != 0 {
				t.Errorf("it ran again: %v, %v", jobs, err)
			}
		})
	}
}
