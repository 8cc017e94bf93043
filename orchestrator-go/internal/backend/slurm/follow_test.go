package slurm

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// scripted is a Slurm whose one job, of id 17, goes through what a test says.
type scripted struct {
	mu        sync.Mutex
	job       job
	known     bool
	err       error // of every call
	submitted int
	cancelled int
	accounts  []job
}

func (s *scripted) set(change func(*scripted)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *scripted) cancels() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cancelled
}

func (s *scripted) submit(_ context.Context, sub submission) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	s.submitted++
	s.known, s.job = true, job{id: 17, name: sub.name, state: pending}
	return 17, nil
}

func (s *scripted) find(context.Context, string) ([]job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known {
		return nil, s.err
	}
	return []job{s.job}, s.err
}

func (s *scripted) status(context.Context, []int64) (map[int64][]job, error) {
	jobs, err := s.find(context.Background(), "")
	if jobs == nil {
		return nil, err
	}
	return map[int64][]job{17: jobs}, err
}

func (s *scripted) cancel(context.Context, int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.cancelled++
		s.job.state = cancelled
	}
	return s.err
}

func (s *scripted) past(context.Context, string) ([]job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts == nil {
		return nil, errNoAccounting
	}
	return s.accounts, s.err
}

// scene runs one task with a scripted Slurm in a time of its own.
func scene(t *testing.T, spec queue.Spec, act func(s *scripted, u *underway)) {
	t.Helper()
	sceneWith(t, Options{}, spec, act)
}

func sceneWith(t *testing.T, opt Options, spec queue.Spec, act func(s *scripted, u *underway)) {
	t.Helper()
	play(t, &scripted{}, opt, spec, act)
}

func play(t *testing.T, s *scripted, opt Options, spec queue.Spec, act func(s *scripted, u *underway)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := assemble(opt.withDefaults(), s, func() {}, slog.New(slog.DiscardHandler))
		defer b.Close()
		spec.Argv = []string{"/bin/true"}
		u := begin(t, b, taskOf(spec))
		time.Sleep(time.Second)
		act(s, u)
		synctest.Wait()
	})
}

func (s *scripted) becomes(t *testing.T, j job) {
	t.Helper()
	s.set(func(s *scripted) { j.id, j.name = 17, s.job.name; s.job = j })
	time.Sleep(200 * time.Millisecond) // of the scene's own time: two polls
}

func TestCrashOfTheController(t *testing.T) {
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: running, start: time.Now()})
		s.becomes(t, job{state: pending}) // as it was when slurmctld last saved its state
		s.becomes(t, job{state: running, start: time.Now()})
		s.becomes(t, job{state: cancelled})
		_, err := u.end()
		wantFault(t, err, "SlurmJobLost")
	})
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: running, start: time.Now()})
		s.becomes(t, job{state: pending, restarts: 1}) // requeued by rights
		s.becomes(t, job{state: running, start: time.Now(), restarts: 1})
		s.becomes(t, job{state: cancelled, restarts: 1})
		_, err := u.end()
		wantRejected(t, err, "SlurmCancelled")
	})
}

func TestRequeueIsWaitedOut(t *testing.T) {
	scene(t, queue.Spec{Slurm: &queue.Slurm{Requeue: true}}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: running, start: time.Now()})
		s.becomes(t, job{state: nodeFail}) // shown for a moment
		s.becomes(t, job{state: pending, restarts: 1})
		s.becomes(t, job{state: running, start: time.Now(), restarts: 1})
		s.becomes(t, job{state: completed, restarts: 1})
		if r := u.result(); r.Reason != "Completed" {
			t.Errorf("got %+v", r)
		}
	})
}

func TestEnds(t *testing.T) {
	for state, want := range map[state]string{
		nodeFail: "SlurmNodeFailed", "BOOT_FAIL": "SlurmNodeFailed", preempted: "SlurmPreempted", "REVOKED": "SlurmNodeFailed",
	} {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			s.becomes(t, job{state: state})
			_, err := u.end()
			wantFault(t, err, want)
		})
	}
	for state, want := range map[state]string{timedOut: "TimedOut", outOfMemory: "OOMKilled", completed: "Completed", failed: "NonZeroExit"} {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			j := job{state: state}
			if state == failed {
				j.exit.code = 137 // without a wrapper around it, this is no signal
			}
			s.becomes(t, j)
			if r := u.result(); r.Reason != want {
				t.Errorf("got %+v", r)
			}
		})
	}
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: failed, exit: exitStatus{signal: launchSignal}})
		_, err := u.end()
		wantFault(t, err, "SlurmLaunchFailed")
	})
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: pending, reason: "launch_failed_requeued_held"})
		_, err := u.end()
		wantFault(t, err, "SlurmLaunchFailed")
		if s.cancels() != 1 {
			t.Error("the job that Slurm holds is still there")
		}
	})
}

// Slurm makes up an exit code for a batch script that a node would not start.
func TestLaunchFailureIsNoExitCode(t *testing.T) {
	spool := t.TempDir()
	failing := job{state: failed, exit: exitStatus{code: 1}, restarts: 1}
	sceneWith(t, Options{Spool: spool}, queue.Spec{}, func(s *scripted, u *underway) {
		writeEnd(t, filepath.Join(spool, u.task.ID), "143 0 1 ran\n") // of the run before
		s.becomes(t, failing)
		time.Sleep(10 * time.Second)
		_, err := u.end()
		wantFault(t, err, "SlurmLaunchFailed")
	})
	sceneWith(t, Options{Spool: spool}, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, failing)
		writeEnd(t, filepath.Join(spool, u.task.ID), "1 1 0 ran\n") // seen late, over a network
		if r := u.result(); r.Reason != "NonZeroExit" || *r.ExitCode != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

func writeEnd(t *testing.T, folder, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, "17.end"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A state of a later Slurm is no end.
func TestUnknownStateIsWaitedOut(t *testing.T) {
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: "HIBERNATING"})
		time.Sleep(time.Minute)
		s.becomes(t, job{state: completed})
		u.result()
	})
}

func TestSlurmIsAway(t *testing.T) {
	away := func(s *scripted) { s.err = &failure{message: "away"} }
	back := func(s *scripted) { s.err = nil }
	t.Run("shortly", func(t *testing.T) {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			s.becomes(t, job{state: running})
			s.set(away)
			time.Sleep(time.Minute)
			s.set(back)
			s.becomes(t, job{state: completed})
			u.result()
		})
	})
	t.Run("for too long", func(t *testing.T) {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			s.becomes(t, job{state: running})
			s.set(away)
			time.Sleep(3 * time.Minute)
			_, err := u.end()
			wantFault(t, err, "SlurmUnreachable")
			if s.cancels() != 0 || s.submitted != 1 {
				t.Error("the job was not left alone")
			}
		})
	})
	denying := func(s *scripted) { s.err = &failure{kind: denied, message: "who are you"} }
	t.Run("to an old token", func(t *testing.T) {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			s.becomes(t, job{state: running})
			s.set(denying)
			time.Sleep(time.Minute)
			s.set(back)
			s.becomes(t, job{state: completed})
			u.result()
		})
	})
	t.Run("to us", func(t *testing.T) {
		scene(t, queue.Spec{}, func(s *scripted, u *underway) {
			s.set(denying)
			time.Sleep(3 * time.Minute)
			_, err := u.end()
			wantFault(t, err, "SlurmAuth")
		})
	})
}

// A limit of how many jobs there may be is waited out; for too long, it is worth another attempt later.
func TestLimitsPass(t *testing.T) {
	full := &failure{kind: notNow, message: "AssocMaxSubmitJobLimit"}
	play(t, &scripted{err: full}, Options{}, queue.Spec{}, func(s *scripted, u *underway) {
		time.Sleep(time.Minute)
		s.set(func(s *scripted) { s.err = nil })
		time.Sleep(time.Minute)
		s.becomes(t, job{state: completed})
		u.result()
	})
	play(t, &scripted{err: full}, Options{}, queue.Spec{}, func(s *scripted, u *underway) {
		time.Sleep(5 * time.Minute)
		_, err := u.end()
		wantFault(t, err, "SlurmLimit")
	})
}

// Whatever an attempt came to, its folder is kept for a while only; not while the job goes on, or another has begun.
func TestFoldersBecomeDue(t *testing.T) {
	taken := func(u *underway, spool string) bool {
		_, err := os.Lstat(filepath.Join(spool, u.task.ID, takenName))
		return err == nil
	}
	for name, c := range map[string]struct {
		act  func(s *scripted, u *underway)
		want bool
	}{
		"completed": {func(s *scripted, u *underway) { s.becomes(t, job{state: completed}) }, true},
		"faulted":   {func(s *scripted, u *underway) { s.becomes(t, job{state: nodeFail}) }, true},
		"rejected":  {func(s *scripted, u *underway) { s.becomes(t, job{state: cancelled}) }, true},
		"cancelled": {func(s *scripted, u *underway) { u.cancel(backend.ErrCancelled) }, true},
		"detached":  {func(s *scripted, u *underway) { u.cancel(backend.ErrDetached) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			spool := t.TempDir()
			sceneWith(t, Options{Spool: spool}, queue.Spec{}, func(s *scripted, u *underway) {
				c.act(s, u)
				_, _ = u.end()
				if taken(u, spool) != c.want {
					t.Errorf("marked: %v", !c.want)
				}
			})
		})
	}
	spool := t.TempDir()
	sceneWith(t, Options{Spool: spool}, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: nodeFail})
		_, _ = u.end()
		again := begin(u.t, u.b, u.task)
		time.Sleep(time.Second)
		if taken(u, spool) {
			t.Error("a task's folder that is in use is marked as done with")
		}
		s.becomes(t, job{state: completed})
		again.result()
	})
}

// A slurmctld that lost its state gives a job's number to another's.
func TestNumbersOfOthers(t *testing.T) {
	another := func(s *scripted) { s.job = job{id: 17, name: "another", state: running, start: time.Now()} }
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: running, start: time.Now()})
		s.set(another)
		time.Sleep(10 * time.Second)
		_, err := u.end()
		wantFault(t, err, "SlurmJobVanished")
	})
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.becomes(t, job{state: running, start: time.Now()})
		s.set(another)
		u.cancel(backend.ErrCancelled)
		if _, err := u.end(); !errors.Is(err, backend.ErrCancelled) || s.cancels() != 0 {
			t.Errorf("%v, and %d jobs of others were cancelled", err, s.cancels())
		}
	})
}

func TestAccountsTellTheEnd(t *testing.T) {
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.set(func(s *scripted) {
			s.known, s.accounts = false, []job{{id: 16, state: completed}, {id: 17, state: failed, exit: exitStatus{code: 4}}}
		})
		time.Sleep(time.Second)
		if r := u.result(); *r.ExitCode != 4 {
			t.Errorf("got %+v", r)
		}
	})
}

// The timeout is of the time that the job runs, not of what it waits.
func TestTimeoutCountsTheRun(t *testing.T) {
	scene(t, queue.Spec{TimeoutMS: 5000}, func(s *scripted, u *underway) {
		time.Sleep(time.Hour)
		s.becomes(t, job{state: running})
		time.Sleep(4 * time.Second)
		s.becomes(t, job{state: pending, restarts: 1})
		s.becomes(t, job{state: running, restarts: 1})
		time.Sleep(4 * time.Second)
		if s.cancels() != 0 {
			t.Error("it was ended early")
		}
		time.Sleep(2 * time.Second)
		if r := u.result(); r.Reason != "TimedOut" || s.cancels() != 1 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestCancellingWaitsForSlurm(t *testing.T) {
	scene(t, queue.Spec{}, func(s *scripted, u *underway) {
		s.set(func(s *scripted) { s.err = errors.New("away") })
		u.cancel(backend.ErrCancelled)
		time.Sleep(time.Second)
		s.set(func(s *scripted) { s.err = nil })
		if _, err := u.end(); !errors.Is(err, backend.ErrCancelled) || s.cancels() != 1 {
			t.Errorf("%v, cancelled %d times", err, s.cancels())
		}
	})
}

func TestMetricsHaveBoundedLabels(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := newMetrics(registry)
	for state := range maps.Keys(ends) {
		m.ends.WithLabelValues(string(state)).Inc()
	}
	(&measured{&scripted{}, m}).note("submit", time.Now(), nil)
	families, err := registry.Gather()
	if err != nil || len(families) != 3 {
		t.Errorf("%d families, %v", len(families), err)
	}
}
