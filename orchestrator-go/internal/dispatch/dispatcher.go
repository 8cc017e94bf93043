// Package dispatch leads the queue: it moves tasks between the store, the schedule and the backends.
//
// Of all processes one leads (reign.go). It reads the log (intake.go), looks up what may be stale in it (check.go), begins
// attempts as limits allow (begin.go), carries each on its backend (attempt.go), and records what becomes of them
// (record.go). What to do next is decided by package schedule alone.
package dispatch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/limit"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
)

// Store is what a leader needs of a queue; package queuetest says what it must hold to.
type Store interface {
	Lease
	Log
}

// Lease says who leads.
type Lease interface {
	Lead(ctx context.Context, term queue.Term) (queue.Term, error)
	Resign(ctx context.Context, term queue.Term, unbegun []queue.Entry) error
}

// Log is what there is to do, and what became of it.
type Log interface {
	Adopt(ctx context.Context, cursor string, mine bool) ([]queue.Entry, string, error)
	Next(ctx context.Context, limit int, block time.Duration) ([]queue.Entry, error)
	Wanted(ctx context.Context, entries []queue.Entry) ([]bool, error)
	Begin(ctx context.Context, term queue.Term, entries []queue.Entry) ([]*queue.Task, error)
	Record(ctx context.Context, term queue.Term, changes []queue.Change, again bool) error
}

// Place is a backend with what bounds its attempts.
type Place struct {
	Backend backend.Backend
	Limit   limit.Limiter                 // of all attempts there at once
	Classes map[queue.Class]limit.Limiter // of those of one class; nil for none
	// Resumes says that an attempt which is detached goes on, and is found again.
	Resumes bool
}

// Options are the settings of a Dispatcher; Defaults has them all.
type Options struct {
	Lease        time.Duration // of the store; renewed four times in it
	Block        time.Duration // a read of the log waits this long for the first entry, and the lead is not given up before
	BackoffBase  time.Duration // before the second attempt, doubled for each one after
	BackoffMax   time.Duration
	DrainTimeout time.Duration // for running attempts at the end, before they are handed back
	PublishAfter time.Duration // that an attempt runs before the store shows it
	MaxBytes     int64         // of running tasks, the results that they may have, and those not recorded yet, about
	KeepInLog    time.Duration // before the entry of a task that takes long is appended again
}

// Defaults are the options of a production dispatcher.
func Defaults() Options {
	return Options{
		Lease: 1200 * time.Millisecond, Block: 200 * time.Millisecond, BackoffBase: 200 * time.Millisecond, BackoffMax: 30 * time.Second,
		DrainTimeout: 20 * time.Second, PublishAfter: 300 * time.Millisecond, MaxBytes: 256 << 20, KeepInLog: time.Hour,
	}
}

// Dispatcher runs the tasks of a queue on backends, while this process leads. Make one with New.
type Dispatcher struct {
	store   Store
	places  map[string]Place
	opt     Options
	log     *slog.Logger
	outage  *outage
	metrics *Metrics

	mu    sync.Mutex
	reign *reign // nil while another process leads
}

// New returns a dispatcher that is idle until Run. Places are named by what tasks call their backend.
func New(store Store, places map[string]Place, opt Options, log *slog.Logger, metrics *Metrics) *Dispatcher {
	log = log.With("component", "dispatch")
	return &Dispatcher{store: store, places: places, opt: opt, log: log, outage: &outage{log: log}, metrics: metrics}
}

// Run leads whenever no other process does, until ctx ends. It then drains: attempts that run have
// DrainTimeout to end, others begin only as long as the first of these last; the rest is handed back, and it returns
// when every outcome is recorded.
func (d *Dispatcher) Run(ctx context.Context) {
	for ctx.Err() == nil {
		sent := time.Now()
		term, err := d.store.Lead(ctx, queue.Term{})
		if err == nil {
			d.outage.answered()
			d.lead(ctx, term, sent)
			continue
		}
		if errors.Is(err, queue.ErrFenced) {
			d.outage.answered()
		} else if ctx.Err() == nil {
			d.outage.failed("ask for the lead", err)
		}
		pause(ctx, d.opt.Lease/8)
	}
}

// lead rules for one term.
func (d *Dispatcher) lead(ctx context.Context, term queue.Term, since time.Time) {
	r := newReign(d, term, since)
	d.log.Info("leading", "epoch", term.Epoch)
	d.set(r)
	r.run(ctx)
	d.set(nil)
	d.log.Info("no longer leading", "epoch", term.Epoch)
}

func (d *Dispatcher) set(r *reign) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reign = r
}

func (d *Dispatcher) current() *reign {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.reign
}

// Leading says whether this process leads, since when, and what it schedules then.
func (d *Dispatcher) Leading() (view schedule.View, since time.Time, leads bool) {
	r := d.current()
	if r == nil {
		return view, since, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.machine.View(), r.since, true
}

func (d *Dispatcher) resumes(backend string) bool {
	return d.places[cmp.Or(backend, queue.RunnerBackend)].Resumes
}

// pause waits for a duration; it reports false when ctx ended first.
func pause(ctx context.Context, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// signal wakes whoever waits on a channel of one place.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
