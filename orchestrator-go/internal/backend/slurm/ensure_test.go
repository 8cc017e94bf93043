package slurm

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// doubling is a Slurm in which another leader's submission of the task comes through during ours.
type doubling struct {
	mu        sync.Mutex
	takes     time.Duration
	later     time.Duration // if set, our submission comes first, and theirs so much later
	jobs      []job
	cancelled []int64
	silent    int // further times that it does not answer
	finds     int
}

func (d *doubling) submit(_ context.Context, s submission) (int64, error) {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.later > 0 {
		d.jobs = append(d.jobs, job{id: 17, name: s.name, state: running})
		time.AfterFunc(d.later, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			d.jobs = append(d.jobs, job{id: 18, name: s.name, state: running})
		})
		return 17, nil
	}
	d.jobs = append(d.jobs, job{id: 18, name: s.name, state: running}, job{id: 17, name: s.name, state: running})
	return 18, nil
}

func (d *doubling) find(context.Context, string) ([]job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.finds++
	if d.silent > 0 {
		d.silent--
		return nil, &failure{message: "no answer"}
	}
	return slices.Clone(d.jobs), nil
}

func (d *doubling) status(ctx context.Context, _ []int64) (map[int64][]job, error) {
	jobs, err := d.find(ctx, "")
	return group(jobs), err
}

func (d *doubling) cancel(_ context.Context, id int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelled = append(d.cancelled, id)
	for i := range d.jobs {
		if d.jobs[i].id == 17 { // the one that stays ends by itself
			d.jobs[i].state = completed
		}
	}
	return nil
}

func (d *doubling) past(context.Context, string) ([]job, error) { return nil, errNoAccounting }

func TestSecondJobOfASlowSubmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubling{takes: 3 * time.Second}
		b := assemble(Options{}.withDefaults(), d, func() {}, slog.New(slog.DiscardHandler))
		defer b.Close()
		u := begin(t, b, taskOf(queue.Spec{Argv: sh("true")}))
		if r := u.result(); r.Slurm.JobID != 17 || !slices.Equal(d.cancelled, []int64{18}) {
			t.Errorf("followed %d, cancelled %v", r.Slurm.JobID, d.cancelled)
		}
	})
}

// The leader that knew of the jobs is gone, and Slurm does not answer at once.
func TestReapEndsWhatATaskLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubling{silent: 2}
		spool := t.TempDir()
		b := assemble(Options{Spool: spool}.withDefaults(), d, func() {}, slog.New(slog.DiscardHandler))
		defer b.Close()
		task := taskOf(queue.Spec{})
		for range 2 { // without a folder of the task's, then with one
			d.jobs = []job{{id: 17, state: running}, {id: 16, state: completed}, {id: 18, state: pending}}
			if err := b.Reap(t.Context(), task.ID); err != nil || !slices.Equal(d.cancelled, []int64{17, 18}) {
				t.Errorf("cancelled %v, %v", d.cancelled, err)
			}
			folder := filepath.Join(spool, task.ID)
			if _, err := os.Lstat(filepath.Join(folder, takenName)); (err == nil) != (d.silent < 0) {
				t.Errorf("marked: %v", err)
			}
			if err := os.MkdirAll(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			d.cancelled, d.silent = nil, -1
		}
	})
}

// The leader died of its submission, which came through when the task had been cancelled.
func TestReapEndsAJobThatComesLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubling{later: 10 * time.Second}
		b := assemble(Options{}.withDefaults(), d, func() {}, slog.New(slog.DiscardHandler))
		defer b.Close()
		task := taskOf(queue.Spec{})
		if err := b.Reap(t.Context(), task.ID); err != nil || d.cancelled != nil {
			t.Errorf("cancelled %v, %v", d.cancelled, err)
		}
		time.Sleep(b.opt.CallTimeout)
		d.mu.Lock()
		d.jobs = []job{{id: 17, state: pending}}
		d.mu.Unlock()
		time.Sleep(2 * slowSubmit)
		d.mu.Lock()
		defer d.mu.Unlock()
		if !slices.Equal(d.cancelled, []int64{17}) {
			t.Errorf("cancelled %v", d.cancelled)
		}
	})
}

// Nobody knows of the folder, so another leader may have submitted the task, and its submission come through later.
func TestSecondJobThatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &doubling{later: 10 * time.Second}
		b := assemble(Options{}.withDefaults(), d, func() {}, slog.New(slog.DiscardHandler))
		defer b.Close()
		u := begin(t, b, taskOf(queue.Spec{Argv: sh("true")}))
		if r := u.result(); r.Slurm.JobID != 17 || !slices.Equal(d.cancelled, []int64{18}) {
			t.Errorf("followed %d, cancelled %v", r.Slurm.JobID, d.cancelled)
		}
	})
}

// Without a spool all of Slurm's jobs were listed three times for each task, to find what nobody could have submitted.
func TestAFirstAttemptIsNotLookedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for fresh, want := range map[bool]int{true: 0, false: 2} {
			d := &doubling{}
			b := assemble(Options{}.withDefaults(), d, func() {}, slog.New(slog.DiscardHandler))
			defer b.Close()
			a := backend.Attempt{Task: taskOf(queue.Spec{Argv: sh("true")}), Number: 1, Fresh: fresh}
			p, err := b.plan(a)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.ensure(t.Context(), p, a.Fresh); err != nil || d.finds != want {
				t.Errorf("fresh %v: asked %d times, %v", fresh, d.finds, err)
			}
		}
	})
}
