package slurm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// Options are the settings of a Backend; zero values get the defaults that are given here.
type Options struct {
	// URL of slurmrestd: http://, https:// or unix:///path. Empty: Slurm's commands are used.
	URL       string
	User      string // whom slurmrestd takes us for; needed with a token
	TokenFile string // a JWT, alone or as `scontrol token` prints it

	Bin  string // folder of Slurm's commands; empty: the PATH
	Conf string // slurm.conf for the commands; empty: Slurm's own choice

	// Spool is a folder that orchestrator and nodes share. Empty: no standard input, no output, and an end that Slurm
	// has forgotten is lost.
	Spool      string
	SpoolMode  fs.FileMode   // of a task's folder: 0700; 02770 or so where jobs run as another user
	KeepOutput time.Duration // after a result was made of it: 7 days

	NamePrefix  string        // of jobs' names: "dspy-"
	PollEvery   time.Duration // 100 ms
	CallTimeout time.Duration // of one call to Slurm: 15 s
	Patience    time.Duration // with a Slurm that does not answer: 2 min
	CancelWait  time.Duration // for a cancelled job to be gone: 5 s
	VanishWait  time.Duration // for the end of a job that Slurm has forgotten to be told by others: 5 s

	Metrics prometheus.Registerer // nil: none
}

// Backend runs tasks as Slurm jobs. Make one with New.
type Backend struct {
	opt     Options
	control control
	watcher *watcher
	metrics *metrics
	late    latecomers
	idle    func() // closes connections
	log     *slog.Logger
}

var (
	_ backend.Backend = (*Backend)(nil)
	_ backend.Tailer  = (*Backend)(nil)
	_ backend.Reaper  = (*Backend)(nil)
)

// New checks the options. Close has to be called in the end.
func New(opt Options, log *slog.Logger) (*Backend, error) {
	opt = opt.withDefaults()
	// Slurm puts the job's id and more where a path has a %, and it reads no relative paths of ours.
	if opt.Spool != "" && (!filepath.IsAbs(opt.Spool) || strings.ContainsAny(opt.Spool, "%\\\n")) {
		return nil, fmt.Errorf("the spool %q has to be an absolute path without %%, \\ and line ends", opt.Spool)
	}
	if opt.Spool != "" {
		if info, err := os.Stat(opt.Spool); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("the spool %q is not a folder that can be reached (%w)", opt.Spool, err)
		}
	}
	if opt.URL == "" {
		return assemble(opt, newCLI(opt), func() {}, log), nil
	}
	r, err := newREST(opt)
	if err != nil {
		return nil, err
	}
	return assemble(opt, r, r.http.CloseIdleConnections, log), nil
}

func assemble(opt Options, c control, idle func(), log *slog.Logger) *Backend {
	log = log.With("component", "slurm")
	m := newMetrics(opt.Metrics)
	c = &measured{control: c, metrics: m}
	return &Backend{opt: opt, control: c, metrics: m, idle: idle, log: log, watcher: newWatcher(c, opt.PollEvery, m, log), late: newLatecomers()}
}

func (o Options) withDefaults() Options {
	o.SpoolMode = cmp.Or(o.SpoolMode, 0o700)
	o.KeepOutput = cmp.Or(o.KeepOutput, 7*24*time.Hour)
	o.NamePrefix = cmp.Or(o.NamePrefix, "dspy-")
	o.PollEvery = cmp.Or(o.PollEvery, 100*time.Millisecond)
	o.CallTimeout = cmp.Or(o.CallTimeout, 15*time.Second)
	o.Patience = cmp.Or(o.Patience, 2*time.Minute)
	o.CancelWait = cmp.Or(o.CancelWait, 5*time.Second)
	o.VanishWait = cmp.Or(o.VanishWait, 5*time.Second)
	return o
}

// Close ends what runs in the background. Jobs go on.
func (b *Backend) Close() {
	b.watcher.close()
	b.late.looks.Wait()
	b.idle()
}

// Run runs a task as a Slurm job: the one that there is of it, else a new one. It calls a.Started when the job
// begins to run; until then it waits in Slurm's queue, at no cost.
func (b *Backend) Run(ctx context.Context, a backend.Attempt) (*queue.Result, error) {
	if a.Task.Spec.Noop {
		return nil, nil
	}
	p, err := b.plan(a)
	if err != nil {
		return nil, err
	}
	result, err := b.run(ctx, p, a)
	if p.folder != "" && b.over(ctx, err) {
		if err := take(p.folder); err != nil {
			b.log.Warn("cannot mark a task's folder as done with", "task", p.task.ID, "error", err)
		}
	}
	return result, err
}

// over says that an attempt has ended, so that what it left is kept for a while only; another one unmarks it. What we
// only stopped waiting for goes on, and may be another leader's by now.
func (b *Backend) over(ctx context.Context, err error) bool {
	stopped := b.watcher.ctx.Err() != nil || ctx.Err() != nil && !errors.Is(context.Cause(ctx), backend.ErrCancelled)
	_, rejected := errors.AsType[*backend.Rejected](err)
	_, faulted := errors.AsType[*backend.Fault](err)
	return err == nil || !stopped && (rejected || faulted || errors.Is(err, backend.ErrCancelled))
}

func (b *Backend) run(ctx context.Context, p plan, a backend.Attempt) (_ *queue.Result, err error) {
	fresh := a.Fresh
	if p.folder != "" {
		if fresh, err = b.prepare(p); err != nil {
			return nil, &backend.Fault{Code: "SlurmSpool", Message: "the spool shared with Slurm's nodes cannot be written", Cause: err}
		}
	}
	found, err := b.ensure(ctx, p, fresh)
	if err != nil {
		b.abandon(ctx, p)
		return nil, err
	}
	return b.follow(ctx, p, a, found)
}

// abandon ends the jobs that a submission which nobody waits for any more may have left.
func (b *Backend) abandon(ctx context.Context, p plan) {
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), backend.ErrDetached) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.opt.CancelWait)
	defer cancel()
	if _, err := b.endJobs(ctx, p.name); err != nil {
		b.log.Warn("cannot tell whether a cancelled task left a job", "task", p.task.ID, "error", err)
	}
}

// endJobs ends the jobs of a name, and says whether there were any.
func (b *Backend) endJobs(ctx context.Context, name string) (some bool, err error) {
	jobs, err := b.control.find(ctx, name)
	live := liveIDs(group(jobs))
	for _, id := range live {
		err = errors.Join(err, b.control.cancel(ctx, id))
	}
	return len(live) > 0, err
}

// Reap ends the jobs of a task that earlier attempts have left, and marks its folder as done with.
func (b *Backend) Reap(ctx context.Context, task string) error {
	if !taskID.MatchString(task) {
		return nil // no job has such a name
	}
	some, err := b.insistEnd(ctx, task)
	if err != nil {
		return err
	}
	if !some {
		b.lookAgain(task)
	}
	if b.opt.Spool == "" {
		return nil
	}
	if err := take(filepath.Join(b.opt.Spool, task)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("marking a task's folder as done with: %w", err)
	}
	return nil
}
