package slurm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

const (
	// Slurm shows a job that it is about to requeue as ended for a moment. An end that is not the command's own
	// is believed when it was seen for so long; the longer one is for jobs that asked to be requeued.
	believeEnd     = 400 * time.Millisecond
	believeRequeue = 3 * time.Second
	// outageShadow is how long after an outage of slurmctld a cancelled job is taken for its doing.
	outageShadow = time.Minute
)

// follower waits for one job's end.
type follower struct {
	b       *Backend
	p       plan
	attempt backend.Attempt
	id      int64
	tally   *tally

	started   bool
	startedAt time.Time   // when it began to run, this time
	timeout   *time.Timer // set while it runs
	ranOut    bool        // we ended it for its timeout
	oddSince  time.Time   // since when its end is another's
	goneSince time.Time   // since when slurmctld does not know it
	outage    time.Time   // when slurmctld last did not answer, or had lost a little of what it knew
	ran       job         // as it was when it was last seen to run
	trouble   trouble
}

// follow waits for a job's end and says what came of it.
func (b *Backend) follow(ctx context.Context, p plan, a backend.Attempt, job found) (*queue.Result, error) {
	f := &follower{
		b: b, p: p, attempt: a, id: job.id, tally: newTally(p.indices), ranOut: ranOut(p, job.id),
		trouble: trouble{patience: b.opt.Patience}, timeout: time.NewTimer(time.Hour),
	}
	f.timeout.Stop()
	defer f.timeout.Stop()
	if job.jobs != nil {
		if done, err := f.take(ctx, look{jobs: job.jobs}); done || err != nil {
			return f.end(err)
		}
	}
	looks, forget := b.watcher.watch(job.id, f.seemsOver)
	defer forget()
	var again <-chan time.Time // when what another leader may have under way has arrived, too
	if job.doubtful {
		timer := time.NewTimer(b.opt.CallTimeout + slowSubmit)
		defer timer.Stop()
		again = timer.C
	}
	for {
		select {
		case l := <-looks:
			if done, err := f.take(ctx, l); done || err != nil {
				return f.end(err)
			}
		case <-again:
			b.doubles(ctx, p, job.id)
		case <-f.timeout.C:
			f.runOut(ctx)
		case <-b.watcher.ctx.Done():
			return nil, &backend.Fault{Code: "SlurmUnreachable", Message: "the orchestrator is stopping", Cause: b.watcher.ctx.Err()}
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), backend.ErrDetached) {
				f.cancel(ctx, looks)
			}
			return nil, context.Cause(ctx)
		}
	}
}

// take takes in what one poll said; done says that the job's end is known.
func (f *follower) take(ctx context.Context, l look) (done bool, err error) {
	if err := f.trouble.add(l.err); err != nil || l.err != nil {
		f.trouble.pause, f.outage = f.b.opt.PollEvery, time.Now()
		return false, err
	}
	jobs := f.b.ours(f.p, l.jobs)
	if len(jobs) == 0 {
		return f.gone(ctx)
	}
	f.goneSince = time.Time{}
	f.tally.look(jobs)
	f.compare()
	f.clock()
	if stuck(f.tally.last) {
		f.b.cancelExtra(ctx, f.p, []int64{f.id})
		return false, fault("SlurmLaunchFailed", "Slurm could not start the job and holds it", f.tally.last)
	}
	if f.tally.live {
		f.oddSince = time.Time{}
		return false, nil
	}
	if len(f.tally.missing()) > 0 { // elements that ended long ago
		return f.gone(ctx)
	}
	if worst, j := f.tally.worst(); worst == itsOwn && f.unlaunched(j) {
		return f.launchFailed(j)
	}
	return f.believed(), nil
}

// unlaunched says that a job may never have begun although Slurm reports an exit code: 1 is what it makes up for a
// batch script that a node would not start ("Job credential revoked"). The script itself would have left its end file.
func (f *follower) unlaunched(j job) bool {
	if f.p.folder == "" || f.p.indices != nil || j.state != failed || j.exit != (exitStatus{code: 1}) {
		return false
	}
	e, err := readEnd(f.p.folder, f.tally.fileOf(f.id, 0))
	return err != nil || e.restarts < j.restarts
}

// launchFailed waits a little for the end file, which another machine wrote, before it says so.
func (f *follower) launchFailed(j job) (bool, error) {
	if f.oddSince.IsZero() {
		f.oddSince = time.Now()
	}
	if time.Since(f.oddSince) < f.b.opt.VanishWait {
		return false, nil
	}
	return false, fault("SlurmLaunchFailed", "Slurm could not start the job", j)
}

// seemsOver says that a single job's script has written its end down.
func (f *follower) seemsOver() bool {
	if f.p.folder == "" || f.p.indices != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(f.p.folder, f.tally.fileOf(f.id, 0)+".end"))
	return err == nil
}

// believed says whether the end that is seen is final.
func (f *follower) believed() bool {
	if worst, _ := f.tally.worst(); worst == itsOwn || f.ranOut {
		return true
	}
	if f.oddSince.IsZero() {
		f.oddSince = time.Now()
	}
	enough := believeEnd
	if f.p.options.Requeue {
		enough = believeRequeue
	}
	return time.Since(f.oddSince) >= enough
}

// compare notices that slurmctld went back in time: one that crashed starts from its last saved state, so that what
// ran waits again, or starts anew, without having been requeued. It then cancels what it finds running twice.
func (f *follower) compare() {
	last := f.tally.last
	if f.p.indices != nil {
		return
	}
	begunAgain := last.state == running && !last.start.Equal(f.ran.start)
	if f.ran.state == running && last.restarts == f.ran.restarts && (begunAgain || last.state == pending) {
		f.outage = time.Now()
	}
	if last.state == running {
		f.ran = last
	}
}

// afterOutage says that the controller was away shortly before.
func (f *follower) afterOutage() bool {
	return !f.outage.IsZero() && time.Since(f.outage) < outageShadow
}

// clock reports the start, and runs the task's timeout while the job runs. The elements of an array start at
// different times: their timeout is the time limit that Slurm has of each.
func (f *follower) clock() {
	if !f.started && f.tally.begun() {
		f.started = true
		f.attempt.Started(fmt.Sprintf("slurm job %d", f.id))
	}
	timeout := time.Duration(f.p.task.Spec.TimeoutMS) * time.Millisecond
	if f.tally.last.state != running {
		f.startedAt = time.Time{}
		f.timeout.Stop()
		return
	}
	if !f.startedAt.IsZero() {
		return
	}
	f.startedAt = time.Now()
	// Whole seconds, by another machine's clock: only used for one that began well before it was seen.
	if before := f.tally.last.start; !before.IsZero() && f.startedAt.Sub(before) > 2*time.Second {
		f.startedAt = before
	}
	if timeout > 0 && f.p.indices == nil {
		f.timeout.Reset(time.Until(f.startedAt.Add(timeout)))
	}
}
