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
// only while there are any, and takes at most a third of the time with a Slurm that is slow.
type watcher struct {
	control control
	every   time.Duration
	metrics *metrics
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	loops   sync.WaitGroup

	mu      sync.Mutex
	watched map[int64][]chan look
	running bool
}

func newWatcher(c control, every time.Duration, m *metrics, log *slog.Logger) *watcher {
	ctx, stop := context.WithCancel(context.Background())
	return &watcher{control: c, every: every, metrics: m, log: log, ctx: ctx, stop: stop, watched: map[int64][]chan look{}}
}

func (w *watcher) close() {
	w.stop()
	w.loops.Wait()
}

// watch delivers the latest look at a job, until forget is called.
func (w *watcher) watch(id int64) (looks <-chan look, forget func()) {
	ch := make(chan look, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched[id] = append(w.watched[id], ch)
	w.metrics.watched.Inc()
	if !w.running && w.ctx.Err() == nil {
		w.running = true
		w.loops.Go(w.loop)
	}
	return ch, func() { w.forget(id, ch) }
}

func (w *watcher) forget(id int64, ch chan look) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.metrics.watched.Dec()
	w.watched[id] = slices.DeleteFunc(w.watched[id], func(c chan look) bool { return c == ch })
	if len(w.watched[id]) == 0 {
		delete(w.watched, id)
	}
}

func (w *watcher) loop() {
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
		timer.Reset(max(w.every, 2*time.Since(begun)))
	}
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
		for _, ch := range w.watched[id] {
			select {
			case <-ch: // nobody has taken the one before; this one says more
			default:
			}
			ch <- look{states[id], err}
		}
	}
}
