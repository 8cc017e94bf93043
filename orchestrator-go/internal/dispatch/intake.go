package dispatch

import (
	"context"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
)

const (
	readLimit  = 1000
	straysEach = time.Second // between two looks for what former leaders were given
)

// intake takes over what there is, then reads what is new.
func (r *reign) intake() {
	ctx := r.taking
	if !r.adoptAll(ctx) {
		return
	}
	for last := time.Now(); ctx.Err() == nil; {
		entries, err := r.store.Next(ctx, readLimit, r.opt.Block)
		r.admit(entries)
		if err != nil && ctx.Err() == nil {
			r.log.Error("cannot read the log; trying again", "error", err)
			pause(ctx, storePause)
		}
		if time.Since(last) >= straysEach {
			last = time.Now()
			r.adoptStrays(ctx)
		}
	}
}

// adoptAll takes over every task that has not ended; it reports false when ctx ended first.
func (r *reign) adoptAll(ctx context.Context) bool {
	begun, count := time.Now(), 0
	for cursor := ""; ; {
		entries, next, err := r.store.Adopt(ctx, cursor, true)
		r.admit(entries)
		count += len(entries)
		if ctx.Err() != nil {
			return false
		}
		if err != nil {
			r.log.Error("cannot take the tasks over; trying again", "error", err)
			pause(ctx, storePause)
			continue
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	r.change(func(m *schedule.Machine) { m.Adopted(time.Now()) })
	r.log.Info("took the queue over", "tasks", count, "seconds", time.Since(begun).Seconds())
	return true
}

func (r *reign) adoptStrays(ctx context.Context) {
	entries, _, err := r.store.Adopt(ctx, "", false)
	r.admit(entries)
	if err != nil && ctx.Err() == nil {
		r.log.Error("cannot look for stray tasks; trying again", "error", err)
	}
}

func (r *reign) admit(entries []queue.Entry) {
	if len(entries) == 0 {
		return
	}
	r.change(func(m *schedule.Machine) {
		now := time.Now()
		for _, e := range entries {
			m.Admit(now, e)
		}
	})
}
