package dispatch

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/history"
	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a store with the processes that lead on it, on a simulated clock.
type world struct {
	t     reporter
	store *fakeStore
	seen  *history.History
	opt   Options

	mu   sync.Mutex
	play map[string]func(context.Context, backend.Attempt) (*queue.Result, error) // by task; none succeeds at once
	runs map[string]int                                                           // attempts, by task
	now  int                                                                      // attempts that run
	most int                                                                      // that ran at once

	log    io.Writer // of all processes
	reaped []string  // tasks of which what was left ended
}

// reporter is what a world needs of a test.
type reporter interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Context() context.Context
}

// process is a dispatcher with its connection to the store.
type process struct {
	*client
	dispatcher *Dispatcher
	limit      limit.Limiter
	end        context.CancelFunc
	ended      chan struct{}
}

// simulate runs a test on a simulated clock.
func simulate(t *testing.T, test func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t)) })
}

func newWorld(t reporter) *world {
	opt, seen := Defaults(), &history.History{}
	return &world{
		t: t, store: newFakeStore(opt.Lease, seen), seen: seen, opt: opt, log: io.Discard,
		play: map[string]func(context.Context, backend.Attempt) (*queue.Result, error){}, runs: map[string]int{},
	}
}

// start starts a process that leads when it can; it is drained at the test's end.
func (w *world) start(name string, mishap func(context.Context, string) (before, after error)) *process {
	return w.startLate(name, mishap, nil)
}

// startLate starts a process whose store may answer late.
func (w *world) startLate(name string, mishap func(context.Context, string) (before, after error), late func(op string)) *process {
	fixed, err := limit.NewFixed(4)
	if err != nil {
		w.t.Fatalf("%v", err)
	}
	p := &process{
		client: &client{fakeStore: w.store, name: name, mishap: mishap, late: late}, limit: fixed, ended: make(chan struct{}),
	}
	p.dispatcher = New(p.client, map[string]Place{
		queue.RunnerBackend: {Backend: fakeBackend{w, p.client}, Limit: fixed},
		queue.SlurmBackend:  {Backend: fakeBackend{w, p.client}, Limit: fixed, Resumes: true},
	}, w.opt, slog.New(slog.NewTextHandler(w.log, nil)), NewMetrics(prometheus.NewRegistry()))
	ctx, end := context.WithCancel(w.t.Context())
	p.end = end
	go func() {
		defer close(p.ended)
		p.dispatcher.Run(ctx)
	}()
	return p
}

// stop drains the process.
func (w *world) stop(p *process) {
	w.t.Helper()
	p.end()
	<-p.ended
	if n := p.limit.InFlight(); n != 0 {
		w.t.Errorf("%s still holds %d permits", p.name, n)
	}
}

// Reap implements backend.Reaper.
func (b fakeBackend) Reap(_ context.Context, task string) error {
	b.client.gate()
	b.world.mu.Lock()
	defer b.world.mu.Unlock()
	b.world.reaped = append(b.world.reaped, task)
	return nil
}

// fakeBackend is a fake backend that plays what the test says.
type fakeBackend struct {
	world  *world
	client *client
}

// Run implements backend.Backend.
func (b fakeBackend) Run(ctx context.Context, a backend.Attempt) (*queue.Result, error) {
	b.client.gate()
	b.world.began(a, b.client.name, 1)
	defer b.client.gate()
	defer b.world.began(a, "", -1)
	a.Started("here")
	b.world.mu.Lock()
	play := b.world.play[a.Task.ID]
	b.world.mu.Unlock()
	if play == nil {
		return nil, nil
	}
	return play(ctx, a)
}

func (w *world) began(a backend.Attempt, by string, change int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now += change
	w.most = max(w.most, w.now)
	if change > 0 {
		w.runs[a.Task.ID]++
		w.seen.Add(history.Event{Kind: history.Begun, Task: a.Task.ID, Token: a.Token, By: by})
	}
}

// on has a task's attempts do something.
func (w *world) on(id string, play func(context.Context, backend.Attempt) (*queue.Result, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.play[id] = play
}

// attempts are how many a task had.
func (w *world) attempts(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.runs[id]
}

// lasting is an attempt that takes a time, unless it is let go of.
func lasting(d time.Duration) func(context.Context, backend.Attempt) (*queue.Result, error) {
	return func(ctx context.Context, _ backend.Attempt) (*queue.Result, error) {
		if pause(ctx, d) {
			return nil, nil
		}
		return nil, context.Cause(ctx)
	}
}

var errLost = &backend.Fault{Code: "RunnerLost", Message: "lost", Cause: io.ErrUnexpectedEOF}

// expect checks how a task has ended.
func (w *world) expect(id string, state queue.State, code string) {
	w.t.Helper()
	out, ended := w.store.end(id)
	if !ended {
		w.t.Errorf("%s has not ended, want %s", id, state)
		return
	}
	got := ""
	if out.Fault != nil {
		got = out.Fault.Code
	}
	if out.State != state || got != code {
		w.t.Errorf("%s ended as %s %q, want %s %q", id, out.State, got, state, code)
	}
}

func (w *world) open(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if out, ended := w.store.end(id); ended {
			w.t.Errorf("%s ended as %s", id, out.State)
		}
	}
}

// finish checks that everything has come to an end, and that nothing is left of it.
func (w *world) finish() {
	w.t.Helper()
	if entries, standings := w.store.left(); entries > 0 || standings > 0 {
		w.t.Errorf("left: %d entries, %d standings", entries, standings)
	}
	if err := w.seen.Check(); err != nil {
		w.t.Errorf("%v", err)
	}
	if w.now != 0 {
		w.t.Errorf("%d attempts still run", w.now)
	}
}
