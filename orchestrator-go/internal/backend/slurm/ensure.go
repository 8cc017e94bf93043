package slurm

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
)

// slowSubmit is how long a submission takes while another's may be under way: a leader's that was replaced meanwhile.
const slowSubmit = time.Second

// found is the job of a task, and what was known of it when it was found.
type found struct {
	id   int64
	jobs []job // none of one that was just submitted
	// doubtful says that another leader's submission of the task may still be under way.
	doubtful bool
}

// ensure takes up the task's job, or submits it. A submission without an answer is looked for before the next.
func (b *Backend) ensure(ctx context.Context, p plan, fresh bool) (found, error) {
	for trouble := (trouble{patience: b.opt.Patience}); ; {
		var err error
		if !fresh {
			var f found
			if f, err = b.attach(ctx, p); err == nil && f.id != 0 {
				b.log.Info("took up a job", "task", p.task.ID, "job", f.id)
				return f, nil
			}
		}
		if err == nil {
			var id int64
			begun := time.Now()
			if id, err = b.control.submit(ctx, p.submission); err == nil {
				doubtful := !fresh || time.Since(begun) > slowSubmit
				if doubtful {
					id = b.oldest(ctx, p, id)
				}
				return found{id: id, doubtful: doubtful}, nil
			}
			fresh = false
			if kindOf(err) == refused {
				return found{}, &backend.Rejected{Code: "SlurmRefused", Message: "Slurm refused the job: " + cut(ownReason(err))}
			}
		}
		b.log.Warn("Slurm does not take a task yet", "task", p.task.ID, "error", err)
		if err := trouble.wait(ctx, err); err != nil {
			return found{}, err
		}
	}
}

// oldest looks, after a submission, whether another leader's was under way before it; of all live jobs the oldest
// stays, whoever looks.
func (b *Backend) oldest(ctx context.Context, p plan, id int64) int64 {
	jobs, err := b.control.find(ctx, p.name)
	if err != nil {
		b.log.Warn("cannot tell whether a task has a second job", "task", p.task.ID, "error", err)
		return id
	}
	live := liveIDs(group(jobs))
	if len(live) < 2 {
		return id
	}
	b.cancelExtra(ctx, p, live[1:])
	return live[0]
}

// doubles ends the jobs of a task that came after the one that is followed.
func (b *Backend) doubles(ctx context.Context, p plan, id int64) {
	jobs, err := b.control.find(ctx, p.name)
	if err != nil {
		b.log.Warn("cannot tell whether a task has a second job", "task", p.task.ID, "error", err)
		return
	}
	b.cancelExtra(ctx, p, slices.DeleteFunc(liveIDs(group(jobs)), func(other int64) bool { return other <= id }))
}

// ownReason is what Slurm said of an error, without our own causes.
func ownReason(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.message
	}
	return "no reason given"
}

func cut(text string) string {
	const maxMessage = 1 << 10
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}

// trouble bounds how long something may go on failing.
type trouble struct {
	patience time.Duration
	since    time.Time
	pause    time.Duration
}

// wait lets time pass before another try. Errors: *backend.Fault when it took too long, or the context's cause.
func (t *trouble) wait(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if fault := t.add(err); fault != nil {
		return fault
	}
	longest := 5 * time.Second
	if kindOf(err) == notNow { // it answers, and many tasks may be waiting like this one
		longest = 30 * time.Second
	}
	t.pause = min(max(2*t.pause, 200*time.Millisecond), longest)
	timer := time.NewTimer(t.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// add counts an error; nil starts anew.
func (t *trouble) add(err error) error {
	if err == nil {
		*t = trouble{patience: t.patience}
		return nil
	}
	if t.since.IsZero() {
		t.since = time.Now()
	}
	if time.Since(t.since) < t.patience {
		return nil
	}
	switch kindOf(err) {
	case denied: // for long: a token that ended may be replaced while its jobs run
		return &backend.Fault{Code: "SlurmAuth", Message: "Slurm does not accept the orchestrator's credentials", Cause: err}
	case notNow:
		return &backend.Fault{Code: "SlurmLimit", Message: "Slurm's limits kept the job out for too long: " + cut(ownReason(err)), Cause: err}
	}
	return &backend.Fault{Code: "SlurmUnreachable", Message: "Slurm did not answer for too long", Cause: err}
}

// attach looks for the task's job: with slurmctld, in the spool, in the accounts. What has ended counts only if that was
// its own end; after a node's failure, say, there is to be another job.
func (b *Backend) attach(ctx context.Context, p plan) (found, error) {
	jobs, err := b.control.find(ctx, p.name)
	if err != nil {
		return found{}, err
	}
	byID := group(jobs)
	if live := liveIDs(byID); len(live) > 0 {
		b.cancelExtra(ctx, p, live[1:])
		return found{id: live[0], jobs: byID[live[0]]}, nil
	}
	if f := b.ownEnd(p, byID); f.id != 0 {
		return f, nil
	}
	if f := b.ownEnd(p, b.inSpool(p)); f.id != 0 {
		return f, nil
	}
	past, err := b.control.past(ctx, p.name)
	if errors.Is(err, errNoAccounting) {
		return found{}, nil
	}
	return b.ownEnd(p, group(past)), err
}

func group(jobs []job) map[int64][]job {
	byID := map[int64][]job{}
	for _, j := range jobs {
		byID[j.id] = append(byID[j.id], j)
	}
	return byID
}

// liveIDs lists the jobs that have not ended, the oldest first.
func liveIDs(byID map[int64][]job) []int64 {
	var live []int64
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		if slices.ContainsFunc(byID[id], func(j job) bool { return j.verdict() == unended }) {
			live = append(live, id)
		}
	}
	return live
}

// ours keeps the records that bear the task's name: a slurmctld that lost its state gives its numbers out again, and
// then what is under a job's number may be anybody's.
func (b *Backend) ours(p plan, jobs []job) []job {
	var ours []job
	for _, j := range jobs {
		if j.name == p.name && (b.opt.User == "" || j.user == "" || j.user == b.opt.User) {
			ours = append(ours, j)
		}
	}
	return ours
}

// cancel ends a job that was found some time ago, if its number is still the task's.
func (b *Backend) cancel(ctx context.Context, p plan, id int64) error {
	known, err := b.control.status(ctx, []int64{id})
	if err != nil || len(b.ours(p, known[id])) == 0 {
		return err
	}
	return b.control.cancel(ctx, id)
}

// cancelExtra ends what a submission that got no answer left beside the one that is followed.
func (b *Backend) cancelExtra(ctx context.Context, p plan, ids []int64) {
	for _, id := range ids {
		if err := b.control.cancel(ctx, id); err != nil {
			b.log.Warn("cannot cancel a second job of a task", "task", p.task.ID, "job", id, "error", err)
		}
	}
}

// ownEnd picks the latest job that ended by itself, or by its own timeout.
func (b *Backend) ownEnd(p plan, byID map[int64][]job) found {
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(byID))) {
		t := newTally(p.indices)
		t.look(byID[id])
		worst, _ := t.worst()
		if t.complete() && (worst == itsOwn || ranOut(p, id)) {
			return found{id: id, jobs: byID[id]}
		}
	}
	return found{}
}

// inSpool reads the ends that the wrapper left.
func (b *Backend) inSpool(p plan) map[int64][]job {
	byID := map[int64][]job{}
	if p.folder == "" {
		return byID
	}
	names, err := filepath.Glob(filepath.Join(p.folder, "[0-9]*.end"))
	if err != nil {
		return byID // the id has no pattern's characters in it: not reached
	}
	for _, path := range names {
		name := strings.TrimSuffix(filepath.Base(path), ".end")
		number, index, _ := strings.Cut(name, "_")
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			continue
		}
		if j, ok := endOf(p.folder, name); ok {
			j.id, j.index = id, index
			byID[id] = append(byID[id], j)
		}
	}
	return byID
}

// endOf makes a record of an end file; none of one that was told to stop, for that may not be its own end.
func endOf(folder, name string) (job, bool) {
	e, err := readEnd(folder, name)
	if err != nil || e.told {
		return job{}, false
	}
	j := job{state: completed, exit: exitStatus{code: e.code}, restarts: e.restarts}
	if e.code != 0 {
		j.state = failed
	}
	return j, true
}

// A job that its task's timeout ended looks cancelled to Slurm; a file remembers whose doing it was.
func timeoutName(id int64) string { return strconv.FormatInt(id, 10) + ".timeout" }

func ranOut(p plan, id int64) bool {
	if p.folder == "" {
		return false
	}
	_, err := os.Lstat(filepath.Join(p.folder, timeoutName(id)))
	return err == nil
}
