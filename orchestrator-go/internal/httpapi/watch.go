package httpapi

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

const (
	defaultStreams = 256
	watchEvery     = 200 * time.Millisecond
	watchTimeout   = 5 * time.Second
)

// watch looks at all tasks that somebody watches, with one question for all of them, while somebody does. A watcher
// holds the latest state alone: who reads slowly misses what was in between, and costs nothing.
type watch struct {
	ask func(context.Context, []string) ([]queue.Task, error)
	max int
	log *slog.Logger

	mu       sync.Mutex
	watchers map[*watcher]struct{}
	nudged   chan struct{}
	stop     context.CancelFunc // of the poller; nil while none runs
	polling  sync.WaitGroup
	closed   chan struct{}
}

// watcher is one stream's view of one task.
type watcher struct {
	id, who string
	changed chan struct{} // holds a token while sight is news

	mu    sync.Mutex
	sight sight
}

// sight is what was last seen of a task.
type sight struct {
	task  Task
	found bool
	shown string // digest of its JSON, which may be large
}

func newWatch(ask func(context.Context, []string) ([]queue.Task, error), most int, log *slog.Logger) *watch {
	return &watch{
		ask: ask, max: most, log: log, watchers: map[*watcher]struct{}{},
		nudged: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// add begins to watch a task; false when that would be too many in all, or for one client, or at the end. Give it back
// with remove.
func (w *watch) add(id, who string) (*watcher, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.watchers) >= w.max || w.isClosed() || w.of(who) >= max(w.max/2, 1) {
		return nil, false
	}
	one := &watcher{id: id, who: who, changed: make(chan struct{}, 1)}
	w.watchers[one] = struct{}{}
	if w.stop == nil {
		var ctx context.Context
		ctx, w.stop = context.WithCancel(context.Background())
		w.polling.Go(func() { w.poll(ctx) })
	}
	return one, true
}

func (w *watch) of(who string) (n int) {
	for one := range w.watchers {
		if one.who == who {
			n++
		}
	}
	return n
}

func (w *watch) open() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return float64(len(w.watchers))
}

func (w *watch) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watchers, one)
	if len(w.watchers) == 0 && w.stop != nil {
		w.stop()
		w.stop = nil
	}
}

// nudge has the tasks looked at now, when this one is watched.
func (w *watch) nudge(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.watchers {
		if one.id == id {
			select {
			case w.nudged <- struct{}{}:
			default:
			}
			return
		}
	}
}

func (w *watch) isClosed() bool {
	select {
	case <-w.closed:
		return true
	default:
		return false
	}
}

// close has the streams end, and waits for the poller.
func (w *watch) close() {
	w.mu.Lock()
	if !w.isClosed() {
		close(w.closed)
	}
	if w.stop != nil {
		w.stop()
		w.stop = nil
	}
	w.mu.Unlock()
	w.polling.Wait()
}

func (w *watch) poll(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "cannot look at the tasks that are watched; trying again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.nudged:
		}
	}
}

func (w *watch) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, watchTimeout)
	defer cancel()
	byID := w.byID()
	ids := make([]string, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	tasks, err := w.ask(ctx, ids)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		seen := sight{task: present(t), found: true}
		text, err := json.Marshal(seen.task)
		if err != nil {
			return err
		}
		seen.shown = digest(string(text))
		for _, one := range byID[t.ID] {
			one.see(seen)
		}
		delete(byID, t.ID)
	}
	for _, gone := range byID {
		for _, one := range gone {
			one.see(sight{})
		}
	}
	return nil
}

func (w *watch) byID() map[string][]*watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	byID := map[string][]*watcher{}
	for one := range w.watchers {
		byID[one.id] = append(byID[one.id], one)
	}
	return byID
}

func (o *watcher) see(seen sight) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if seen.shown == o.sight.shown && seen.found {
		return
	}
	o.sight = seen
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

func (o *watcher) latest() sight {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sight
}
