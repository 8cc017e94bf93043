package slurm

import (
	"fmt"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// end makes what Run returns of a job's end, or of the error that there is instead.
func (f *follower) end(err error) (*queue.Result, error) {
	if err != nil {
		return nil, err
	}
	if !f.started { // it ended before it was seen to run
		f.started = true
		f.attempt.Started(fmt.Sprintf("slurm job %d", f.id))
	}
	worst, j := f.tally.worst()
	f.b.metrics.ends.WithLabelValues(string(j.state)).Inc()
	switch {
	case worst == itsOwn || f.ranOut:
		return f.result(j)
	case worst == byPeople && f.afterOutage():
		return nil, fault("SlurmJobLost", "Slurm cancelled the job after an outage of its own", j)
	case worst == byPeople:
		// Somebody with a right to it ended the job: to start it again would be against their will.
		return nil, &backend.Rejected{Code: "SlurmCancelled", Message: fmt.Sprintf("job %d was cancelled in Slurm (%s)", f.id, j.state)}
	case j.state == preempted:
		return nil, fault("SlurmPreempted", "Slurm took the job's nodes for another", j)
	case j.state == failed:
		return nil, fault("SlurmLaunchFailed", "Slurm could not start the job; does its node have the spool?", j)
	}
	return nil, fault("SlurmNodeFailed", "Slurm lost the job", j)
}

func fault(code, message string, j job) error {
	if j.nodes != "" {
		message += " on " + j.nodes
	}
	return &backend.Fault{
		Code: code, Message: cut(fmt.Sprintf("%s (%s)", message, j.state)), Cause: fmt.Errorf("job %d: %s, %s", j.id, j.state, j.reason),
	}
}

// result is a command's result. One that could not begin is *backend.Rejected, like an env runner's.
func (f *follower) result(worst job) (*queue.Result, error) {
	if err := f.unstarted(worst); err != nil {
		return nil, err
	}
	r := &queue.Result{Isolation: []string{}, Usage: queue.Usage{WallMS: f.wall(worst)}}
	if f.p.indices != nil {
		worst = f.tally.representative()
	}
	f.reason(r, worst)
	if f.p.folder != "" && f.p.indices == nil {
		if err := fill(r, f.p.folder, f.tally.fileOf(f.id, 0), f.p.task.Spec.OutputLimitBytes); err != nil {
			return nil, &backend.Fault{Code: "SlurmSpool", Message: "the job's output cannot be read", Cause: err}
		}
	}
	f.show(r, worst)
	return r, nil
}

// show tells of the job itself.
func (f *follower) show(r *queue.Result, j job) {
	s := f.describe(j)
	r.Slurm = s
	f.b.log.Info("a job ended", "task", f.p.task.ID, "job", s.JobID, "state", s.State, "nodes", s.Nodes, "restarts", s.Restarts)
}

func (f *follower) reason(r *queue.Result, j job) {
	code, signal := j.exit.code, j.exit.signal
	if signal == 0 && code > 128 && code <= 128+64 && f.p.folder != "" {
		signal = code - 128 // how the wrapper's shell puts it
	}
	switch {
	case f.ranOut && j.state != completed && j.state != failed, j.state == timedOut:
		r.Reason = "TimedOut"
	case j.state == outOfMemory:
		r.Reason = "OOMKilled"
	case signal != 0:
		r.Reason, r.Signal = "Signaled", &signal
	case code == 0 && j.state == failed: // the accounts over REST v0.0.38 have no exit codes
		r.Reason = "NonZeroExit"
	case code != 0:
		r.Reason, r.ExitCode = "NonZeroExit", &code
	default:
		r.Reason, r.ExitCode = "Completed", &code
	}
}

// unstarted tells by the wrapper's word whether there was nothing to run.
func (f *follower) unstarted(j job) error {
	if f.p.folder == "" || f.p.indices != nil || j.exit.code < 125 || j.exit.code > 127 {
		return nil
	}
	e, err := readEnd(f.p.folder, f.tally.fileOf(f.id, 0))
	switch {
	case err == nil && e.why == "no-program":
		return reject("CannotStart", cut(fmt.Sprintf("there is no program %.200q on Slurm's node", f.p.task.Spec.Argv[0])))
	case err == nil && e.why == "no-directory":
		return reject("CannotStart", cut(fmt.Sprintf("there is no directory %.200q on Slurm's node", f.p.task.Spec.Cwd)))
	}
	return nil
}

// wall is how long the job ran: as we saw it, else in Slurm's whole seconds.
func (f *follower) wall(j job) int64 {
	if !f.startedAt.IsZero() {
		return time.Since(f.startedAt).Milliseconds()
	}
	if j.start.IsZero() || j.end.Before(j.start) {
		return 0
	}
	return j.end.Sub(j.start).Milliseconds()
}
