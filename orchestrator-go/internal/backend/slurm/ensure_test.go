package slurm

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// doubling is a Slurm in which another leader's submission of the task comes through during ours.
type doubling struct {
	mu        sync.Mutex
	takes     time.Duration
	jobs      []job
	cancelled []int64
}

func (d *doubling) submit(_ context.Context, s submission) (int64, error) {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.jobs = append(d.jobs, job{id: 18, name: s.name, state: running}, job{id: 17, name: s.name, state: running})
	return 18, nil
}

func (d *doubling) find(context.Context, string) ([]job, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
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
