package slurm

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
)

// runOut ends a job whose task has used up its time.
func (f *follower) runOut(ctx context.Context) {
	if f.p.folder != "" {
		if err := leave(f.p.folder, timeoutName(f.id)); err != nil {
			f.b.log.Warn("cannot note a timeout", "task", f.p.task.ID, "error", err)
		}
	}
	f.ranOut = true
	if err := f.b.cancel(ctx, f.p, f.id); err != nil {
		f.b.log.Warn("cannot end a job that ran out of time; trying again", "job", f.id, "error", err)
		f.timeout.Reset(time.Second)
	}
}

// gone looks elsewhere for the end of what slurmctld has forgotten: in the spool, then in the accounts.
func (f *follower) gone(ctx context.Context) (done bool, err error) {
	for _, index := range f.tally.missing() {
		if f.p.folder == "" {
			break
		}
		if j, ok := endOf(f.p.folder, f.tally.fileOf(f.id, index)); ok {
			f.tally.ended[index] = j
		}
	}
	f.tally.live = false
	if len(f.tally.missing()) == 0 {
		return true, nil
	}
	past, err := f.b.control.past(ctx, f.p.name)
	for _, j := range past {
		if j.id == f.id && j.verdict() != unended {
			for _, index := range f.tally.of(j) {
				f.tally.ended[index] = j
			}
		}
	}
	if len(f.tally.missing()) == 0 {
		return true, nil
	}
	if f.goneSince.IsZero() {
		f.goneSince = time.Now()
	}
	if time.Since(f.goneSince) < f.b.opt.VanishWait {
		return false, nil
	}
	return false, &backend.Fault{
		Code: "SlurmJobVanished", Message: fmt.Sprintf("Slurm no longer knows job %d, and nothing else tells how it ended", f.id), Cause: err,
	}
}

// cancel ends the job and waits a little for it to be gone.
func (f *follower) cancel(ctx context.Context, looks <-chan look) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), f.b.opt.CancelWait)
	defer cancel()
	asked := false
	for {
		if !asked {
			err := f.b.cancel(ctx, f.p, f.id)
			if asked = err == nil; err != nil {
				f.b.log.Warn("cannot cancel a job yet", "job", f.id, "error", err)
			}
		}
		select {
		case l := <-looks:
			if f.tally.look(f.b.ours(f.p, l.jobs)); asked && l.err == nil && !f.tally.live {
				return
			}
		case <-ctx.Done():
			f.b.log.Warn("a cancelled job may still be there", "job", f.id)
			return
		}
	}
}

// stuck says that Slurm failed to start a job and now waits for a person.
func stuck(j job) bool {
	reason := strings.ToLower(strings.ReplaceAll(j.reason, "_", " "))
	return j.state == pending && strings.Contains(reason, "requeued held")
}
