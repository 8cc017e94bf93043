package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// job is a task with what its attempts do.
type job struct {
	after  time.Duration // that it is sent
	spec   queue.Spec
	takes  time.Duration
	faults int           // attempts that fail before one succeeds
	cancel time.Duration // after it was sent; 0 for never
	again  time.Duration // after that it is sent again, with its idempotency key; 0 for never
}

// disturbance is something that happens to a process.
type disturbance struct {
	at, lasts time.Duration
	process   int
	what      string // "stop", as SIGSTOP does; "drain": it ends in order and starts again
}

// scenario is all that happens in one run.
type scenario struct {
	processes    int
	jobs         []job
	disturbances []disturbance
	mishaps      float64 // of a request to the store
	seed         uint64
}

func milliseconds(from, to int) *rapid.Generator[time.Duration] {
	return rapid.Map(rapid.IntRange(from, to), func(n int) time.Duration { return time.Duration(n) * time.Millisecond })
}

func drawScenario(t *rapid.T) scenario {
	s := scenario{
		processes: rapid.IntRange(1, 3).Draw(t, "processes"), seed: rapid.Uint64().Draw(t, "seed"),
		mishaps: rapid.SampledFrom([]float64{0, 0.02, 0.1, 0.3}).Draw(t, "mishaps"),
	}
	for i := range rapid.IntRange(1, 20).Draw(t, "tasks") {
		j := job{
			after: milliseconds(0, 1000).Draw(t, "after"), takes: milliseconds(0, 3000).Draw(t, "takes"),
			faults: rapid.SampledFrom([]int{0, 0, 0, 1, 3}).Draw(t, "faults"), spec: queue.Spec{MaxAttempts: 1000},
		}
		switch rapid.IntRange(0, 7).Draw(t, "kind") {
		case 0:
			j.spec.Scope = true
		case 1:
			j.cancel = milliseconds(1, 5000).Draw(t, "cancel")
		case 2:
			j.spec.Backend = queue.SlurmBackend
		case 3:
			j.spec.LimitKey, j.spec.LimitMax = "key", 1
		case 4:
			if i > 0 {
				j.spec.Parent = fmt.Sprint(rapid.IntRange(0, i-1).Draw(t, "parent"))
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "again?") == 0 {
			j.again = milliseconds(1, 20_000).Draw(t, "again")
		}
		s.jobs = append(s.jobs, j)
	}
	for range rapid.IntRange(0, 6).Draw(t, "disturbances") {
		s.disturbances = append(s.disturbances, disturbance{
			at: milliseconds(0, 10_000).Draw(t, "at"), lasts: milliseconds(1, 8000).Draw(t, "lasts"),
			process: rapid.IntRange(0, s.processes-1).Draw(t, "process"), what: rapid.SampledFrom([]string{"stop", "drain"}).Draw(t, "what"),
		})
	}
	return s
}

// gathered takes down what is wrong, for a test that goes on outside of the simulated clock.
type gathered struct {
	*testing.T
	mu     sync.Mutex
	faults []string
}

// Errorf takes a fault down.
func (g *gathered) Errorf(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, fmt.Sprintf(format, args...))
}

// TestNothingIsLostWhateverHappens has leaders stopped, drained and cut off from the store, and looks at the history.
func TestNothingIsLostWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawScenario(rt)
		var faults []string
		synctest.Test(t, func(t *testing.T) {
			g := &gathered{T: t}
			s.run(newWorld(g))
			faults = g.faults
		})
		if len(faults) > 0 {
			rt.Fatalf("%s", strings.Join(faults, "\n"))
		}
	})
}

// run plays the scenario to its end.
func (s scenario) run(w *world) {
	var calm atomic.Bool
	processes := make([]*process, s.processes)
	w.opt.KeepInLog = time.Second
	for i := range processes {
		processes[i] = w.startLate(fmt.Sprint("p", i), s.mishap(&calm, uint64(i)), s.late(&calm, uint64(i)))
	}
	var others sync.WaitGroup
	for i := range s.processes {
		others.Go(func() { s.disturb(w, processes, i) })
	}
	reading, stop := context.WithCancel(w.t.Context())
	others.Go(func() { s.read(reading, w) })
	s.send(w)
	time.Sleep(20 * time.Second)
	calm.Store(true)
	for range 600 {
		if entries, _ := w.store.left(); entries == 0 {
			break
		}
		time.Sleep(time.Second)
	}
	stop()
	others.Wait()
	for _, p := range processes {
		w.stop(p)
	}
	s.judge(w)
}

// send sends the tasks, each at its time, and what is asked of them.
func (s scenario) send(w *world) {
	var asked sync.WaitGroup
	for i, j := range s.jobs {
		time.Sleep(j.after)
		id, left := fmt.Sprint(i), atomic.Int64{}
		left.Store(int64(j.faults))
		w.on(id, func(ctx context.Context, _ backend.Attempt) (*queue.Result, error) {
			if !pause(ctx, j.takes) {
				return nil, context.Cause(ctx)
			}
			if left.Add(-1) >= 0 {
				return nil, errLost
			}
			return nil, nil
		})
		if _, ended := w.store.end(j.spec.Parent); ended {
			j.spec.Parent = "" // it would have been refused
		}
		w.store.enqueue(id, j.spec)
		asked.Go(func() {
			if j.cancel > 0 {
				time.Sleep(j.cancel)
				w.store.request(queue.OpCancel, id)
			}
			if j.again > 0 {
				time.Sleep(j.again)
				w.store.enqueue(id, j.spec)
			}
			if j.spec.Scope {
				time.Sleep(30 * time.Second)
				w.store.request(queue.OpClose, id)
			}
		})
	}
	asked.Wait()
}

// mishap has the store fail now and then, before or after it did what it was asked, or answer late.
func (s scenario) mishap(calm *atomic.Bool, process uint64) func(context.Context, string) (before, after error) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(s.seed, process))
	return func(ctx context.Context, _ string) (before, after error) {
		mu.Lock()
		kind, wait := random.Float64()/s.mishaps, time.Duration(random.Int64N(int64(800*time.Millisecond)))
		mu.Unlock()
		switch {
		case s.mishaps == 0 || calm.Load() || kind > 1:
			return nil, nil
		case kind < 0.3:
			return errAway, nil
		case kind < 0.6:
			return nil, errAway
		case !pause(ctx, wait):
			return ctx.Err(), nil
		}
		return nil, nil
	}
}

// late has replies come late, after the store did what it was asked.
func (s scenario) late(calm *atomic.Bool, process uint64) func(string) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(s.seed, ^process))
	return func(string) {
		mu.Lock()
		some, wait := random.Float64() < s.mishaps/3, time.Duration(random.Int64N(int64(3*time.Second)))
		mu.Unlock()
		if some && !calm.Load() {
			time.Sleep(wait)
		}
	}
}

// disturb disturbs one process, one time after the other.
func (s scenario) disturb(w *world, processes []*process, i int) {
	for _, d := range s.disturbances {
		if d.process != i {
			continue
		}
		time.Sleep(d.at)
		if d.what == "stop" {
			processes[i].pause()
			time.Sleep(d.lasts)
			processes[i].resume()
			continue
		}
		w.stop(processes[i])
		time.Sleep(d.lasts)
		processes[i] = w.startLate(processes[i].name+"'", processes[i].mishap, processes[i].late)
	}
}

// read reads all tasks again and again, as clients do.
func (s scenario) read(ctx context.Context, w *world) {
	for pause(ctx, 300*time.Millisecond) {
		for i := range s.jobs {
			w.store.end(fmt.Sprint(i))
		}
	}
}

// judge looks at how everything has ended.
func (s scenario) judge(w *world) {
	w.finish()
	for id, state := range w.store.states() {
		var i int
		if _, err := fmt.Sscan(id, &i); err != nil {
			w.t.Errorf("%s: %v", id, err)
			continue
		}
		if state != queue.Succeeded && !(state == queue.Cancelled && s.mayBeCancelled(i)) {
			out, _ := w.store.end(id)
			w.t.Errorf("%s ended as %s: %+v", id, state, out.Fault)
		}
	}
	if n := w.store.leaders(); n == 0 {
		w.t.Errorf("nobody ever led")
	}
}

// mayBeCancelled says whether a task or anything that it is in was cancelled, or may have ended when it was sent.
func (s scenario) mayBeCancelled(i int) bool {
	for {
		j := s.jobs[i]
		if j.cancel > 0 {
			return true
		}
		if _, err := fmt.Sscan(j.spec.Parent, &i); err != nil {
			return false
		}
		if !s.jobs[i].spec.Scope {
			return true
		}
	}
}
