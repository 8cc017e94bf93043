package slurm

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// look is what one poll said of one job.
type look struct {
	jobs []job // none: slurmctld does not know the job, unless err says that it did not answer
	err  error
}

// watcher asks for the state of all jobs that somebody follows in one call, again and again. It runs
// only while there are any, and asks at most half of the time, however slow Slurm is. When it is slow (slurmrestd
// needs a second to list some thousand jobs), jobs whose end file has appeared are asked for in between, by themselves.
type watcher struct {
	control control
	every   time.Duration
	metrics *metrics
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	loops   sync.WaitGroup

	mu      sync.Mutex
	watched map[int64][]*watched
	running bool
	took    time.Duration // by the last poll
}

// watched is somebody who follows a job.
type watched struct {
	looks chan look
	over  func() bool // may tell before Slurm does that the job has ended
}

func newWatcher(c control, every time.Duration, m *metrics, log *slog.Logger) *watcher {
	ctx, stop := context.WithCancel(context.Background())
	return &watcher{control: c, every: every, metrics: m, log: log, ctx: ctx, stop: stop, watched: map[int64][]*watched{}}
}

func (w *watcher) close() {
	w.stop()
	w.loops.Wait()
}

// watch delivers the latest look at a job, until forget is called.
func (w *watcher) watch(id int64, over func() bool) (looks <-chan look, forget func()) {
	one := &watched{looks: make(chan look, 1), over: over}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched[id] = append(w.watched[id], one)
	w.metrics.watched.Inc()
	if !w.running && w.ctx.Err() == nil {
		w.running, w.took = true, 0
		w.loops.Go(w.loop)
	}
	return one.looks, func() { w.forget(id, one) }
}

func (w *watcher) forget(id int64, one *watched) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.metrics.watched.Dec()
	w.watched[id] = slices.DeleteFunc(w.watched[id], func(other *watched) bool { return other == one })
	if len(w.watched[id]) == 0 {
		delete(w.watched, id)
	}
}

func (w *watcher) loop() {
	ctx, stop := context.WithCancel(w.ctx)
	defer stop()
	w.loops.Go(func() { w.hurry(ctx) })
	timer := time.NewTimer(w.every)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			return
		}
		ids := w.ids()
		if ids == nil {
			return
		}
		begun := time.Now()
		states, err := w.control.status(w.ctx, ids)
		if w.ctx.Err() != nil {
			return
		}
		w.deliver(ids, states, err)
		w.mu.Lock()
		w.took = time.Since(begun)
		w.mu.Unlock()
		took := time.Since(begun)
		timer.Reset(max(w.pause(states)-took, took))
	}
}

// pause is how long after a poll's begin the next may begin: not long for what is about to be over.
func (w *watcher) pause(states map[int64][]job) time.Duration {
	for _, jobs := range states {
		if slices.ContainsFunc(jobs, func(j job) bool { return j.state == completing }) {
			return w.every / 4
		}
	}
	return w.every
}

// hurry asks for the jobs that seem to be over, while polls are slow.
func (w *watcher) hurry(ctx context.Context) {
	ticker := time.NewTicker(w.every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		ids := w.overdue()
		if len(ids) == 0 {
			continue
		}
		// An error is for the next poll to tell.
		if states, err := w.control.status(ctx, ids); err == nil {
			w.deliver(ids, states, nil)
		}
	}
}

// overdue lists a few of the jobs that seem to be over; none when polls are quick enough.
func (w *watcher) overdue() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []int64
	if w.took < w.every/2 {
		return nil
	}
	for id, all := range w.watched {
		if len(ids) < fewJobs && slices.ContainsFunc(all, func(one *watched) bool { return one.over() }) {
			ids = append(ids, id)
		}
	}
	return ids
}

// ids lists what is watched; with nothing left, the loop has ended.
func (w *watcher) ids() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watched) == 0 {
		w.running = false
		return nil
	}
	return slices.Sorted(maps.Keys(w.watched))
}

func (w *watcher) deliver(ids []int64, states map[int64][]job, err error) {
	if err != nil {
		w.log.Warn("Slurm does not tell how its jobs are", "jobs", len(ids), "error", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		for _, one := range w.watched[id] {
			select {
			case <-one.looks: // nobody has taken the one before; this one says more
			default:
			}
			one.looks <- look{states[id], err}
		}
	}
}
