// Package dispatch carries leased tasks to a backend and their outcomes back to the queue.
//
// One goroutine reads, one reclaims what dead processes held, one renews, some write
// outcomes, and one more per held task carries it through its attempts (carry.go).
package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// Queue is what the dispatcher needs of a queue; package queuetest says what it must hold to.
type Queue interface {
	Read(ctx context.Context, limit int, block time.Duration) ([]queue.Lease, error)
	Reclaim(ctx context.Context, limit int, held func(entry string) bool) ([]queue.Lease, error)
	Renew(ctx context.Context, held []queue.Progress) (queue.Renewal, error)
	Retry(ctx context.Context, lease queue.Lease) (queue.Lease, error)
	Finish(ctx context.Context, done []queue.Completion) ([]bool, error)
	Release(ctx context.Context, leases []queue.Lease) error
}

// Backend runs the attempts; package backendtest says what it must hold to.
type Backend = backend.Backend

// Options are the settings of a Dispatcher; Defaults has them all.
type Options struct {
	Workers      int           // attempts at once
	MaxHeld      int           // leased tasks at once: running, waiting for another attempt, being recorded
	Lease        time.Duration // of the queue; renewed three times in it
	Block        time.Duration // a read waits this long for the first task
	BackoffBase  time.Duration // before the second attempt, doubled for each one after
	BackoffMax   time.Duration
	DrainTimeout time.Duration // for running attempts at the end, before they are handed back
}

// Defaults are the options of a production dispatcher.
func Defaults() Options {
	return Options{
		Workers: 128, MaxHeld: 2048, Lease: 1500 * time.Millisecond, Block: time.Second,
		BackoffBase: 200 * time.Millisecond, BackoffMax: 30 * time.Second, DrainTimeout: 20 * time.Second,
	}
}

// Why the context of a held task ended.
var (
	errEnded     = errors.New("the task was ended elsewhere")
	errLeaseLost = errors.New("the lease was lost")
	errDraining  = errors.New("the orchestrator is stopping")
)

// Dispatcher runs the tasks of a queue on a backend. Make one with New.
type Dispatcher struct {
	queue   Queue
	backend Backend
	opt     Options
	log     *slog.Logger
	metrics *Metrics
	held    *holds
	slots   chan struct{} // one token per running attempt
	done    chan ending

	draining <-chan struct{} // closed from the moment when Run is to stop: no attempt begins any more
}

// New returns a dispatcher that is idle until Run.
func New(q Queue, b Backend, opt Options, log *slog.Logger, metrics *Metrics) *Dispatcher {
	return &Dispatcher{
		queue: q, backend: b, opt: opt, log: log.With("component", "dispatch"), metrics: metrics,
		held: newHolds(opt.MaxHeld), slots: make(chan struct{}, opt.Workers),
		done: make(chan ending, opt.MaxHeld),
	}
}

// Run works until ctx ends, then drains: it reads no more, lets attempts finish within
// DrainTimeout, hands the rest back, and returns when every outcome is recorded.
func (d *Dispatcher) Run(ctx context.Context) {
	d.draining = ctx.Done()
	work, abandon := context.WithCancelCause(context.WithoutCancel(ctx))
	var intake, upkeep, finishers sync.WaitGroup
	intake.Go(func() { d.readLoop(ctx, work) })
	intake.Go(func() { d.reclaimLoop(ctx, work) })
	upkeep.Go(func() { d.renewLoop(work) })
	for range finisherCount {
		finishers.Go(d.finishLoop)
	}
	intake.Wait()
	d.drain(abandon)
	abandon(errDraining)
	upkeep.Wait()
	close(d.done)
	finishers.Wait()
}

// drain waits for the held tasks; those that wait for another attempt are handed back at once.
func (d *Dispatcher) drain(abandon context.CancelCauseFunc) {
	deadline := time.AfterFunc(d.opt.DrainTimeout, func() { abandon(errDraining) })
	defer deadline.Stop()
	d.held.wait()
}

// Cancel stops the attempt of a task that was cancelled, if it runs here.
func (d *Dispatcher) Cancel(id string) { d.held.endTask(id, errEnded) }

// InFlight is the number of attempts that run now.
func (d *Dispatcher) InFlight() int { return len(d.slots) }
