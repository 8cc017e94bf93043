package slurm

import (
	"context"
	"sync"
	"time"
)

// latecomers are jobs of tasks that were reaped already: a leader that died may have left a submission under way, which
// Slurm had not taken yet.
type latecomers struct {
	looks sync.WaitGroup
	turn  chan struct{} // holds a token while one looks: each look may list all of Slurm's jobs
}

func newLatecomers() latecomers { return latecomers{turn: make(chan struct{}, 1)} }

// lookAgain ends a reaped task's jobs once more, when no submission from before can be under way any more.
func (b *Backend) lookAgain(task string) {
	ctx := b.watcher.ctx
	b.late.looks.Go(func() {
		timer := time.NewTimer(b.opt.CallTimeout + slowSubmit)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case b.late.turn <- struct{}{}:
			defer func() { <-b.late.turn }()
		case <-ctx.Done():
			return
		}
		if _, err := b.insistEnd(ctx, task); err != nil && ctx.Err() == nil {
			b.log.Warn("cannot tell whether a cancelled task's job came late", "task", task, "error", err)
		}
	})
}

// insistEnd ends a task's jobs, and says whether there were any. It goes on asking while Slurm does not answer.
func (b *Backend) insistEnd(ctx context.Context, task string) (some bool, err error) {
	for trouble := (trouble{patience: b.opt.Patience}); ; {
		found, err := b.endJobs(ctx, b.opt.NamePrefix+task)
		if some = some || found; err == nil {
			return some, nil
		}
		b.log.Warn("Slurm does not end a task's job yet", "task", task, "error", err)
		if err := trouble.wait(ctx, err); err != nil {
			return some, err
		}
	}
}
