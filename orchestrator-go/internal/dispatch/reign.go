package dispatch

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
)

// storePause is how long a loop waits before it asks a failing store again.
const storePause = 200 * time.Millisecond

// reapLimit is of how many tasks at once what an earlier leader left is looked for.
const reapLimit = 16

// reign is one term of this process. Its goroutines share the machine under a lock that is never held over input
// or output; a change to it wakes those that carry out what it decides.
type reign struct {
	*Dispatcher
	term  queue.Term
	since time.Time

	mu       sync.Mutex
	machine  *schedule.Machine
	attempts map[string]*attempt // by task
	bytes    int64               // of running tasks and the results that they may have, and of held
	held     map[string]int64    // bytes of the results that are to be recorded, by task

	work   chan struct{} // there may be something to begin
	record chan struct{} // there may be something to record
	check  chan struct{} // there may be something to look up

	ruling    context.Context // until the term ends, or everything is drained
	end       context.CancelCauseFunc
	taking    context.Context // until no attempt begins any more
	halt      context.CancelFunc
	recording context.Context // until all that is to be recorded has happened
	finish    context.CancelFunc
	running   sync.WaitGroup // attempts
	idle      chan *attempt  // to those who have carried one and could carry another
	reaping   chan struct{}  // holds a token for each task of which something is being ended
	keptUntil atomic.Int64   // when the lease may have run out, in Unix nanoseconds
}

func newReign(d *Dispatcher, term queue.Term, since time.Time) *reign {
	r := &reign{
		Dispatcher: d, term: term, since: since, attempts: map[string]*attempt{}, held: map[string]int64{}, idle: make(chan *attempt),
		reaping: make(chan struct{}, reapLimit),
		work:    make(chan struct{}, 1), record: make(chan struct{}, 1), check: make(chan struct{}, 1),
		machine: schedule.New(schedule.Options{
			Backoff:      func(attempt int) time.Duration { return backoff(attempt, d.opt.BackoffBase, d.opt.BackoffMax) },
			PublishAfter: d.opt.PublishAfter, Resumes: d.resumes, LedUntil: term.Before,
		}),
	}
	r.kept(since)
	return r
}

var errDrained = errors.New("everything is drained")

// run rules until the term or ctx ends.
func (r *reign) run(ctx context.Context) {
	r.ruling, r.end = context.WithCancelCause(context.WithoutCancel(ctx))
	r.taking, r.halt = context.WithCancel(r.ruling)
	r.recording, r.finish = context.WithCancel(r.ruling)
	var keeper, reader, checker, beginner, recorder sync.WaitGroup
	keeper.Go(r.keep)
	reader.Go(r.intake)
	checker.Go(r.checkLoop)
	beginner.Go(r.begin)
	recorder.Go(r.recordLoop)
	select {
	case <-ctx.Done():
		r.drain()
	case <-r.ruling.Done():
	}
	r.halt()
	r.detach()
	beginner.Wait() // an attempt that begins until then is detached at once
	r.running.Wait()
	r.finish()
	checker.Wait()
	recorder.Wait()
	reader.Wait() // what a read is given that waits for its time would be missed by the next leader
	r.end(errDrained)
	keeper.Wait()
	r.resign()
}

// drain waits for the attempts that run, those aside that are found again. Others begin meanwhile: nobody else leads,
// and nobody is to wait for the longest attempt. Once the first ones have ended, what runs then has a moment left.
func (r *reign) drain() {
	deadline := time.NewTimer(r.opt.DrainTimeout)
	defer deadline.Stop()
	if !r.await(r.passing(), deadline.C) {
		return
	}
	r.halt()
	last := time.NewTimer(r.opt.Lease)
	defer last.Stop()
	r.await(r.passing(), last.C)
}

// await waits for attempts to end; it reports false when the time or the term ended first.
func (r *reign) await(attempts []*attempt, until <-chan time.Time) bool {
	for _, a := range attempts {
		select {
		case <-a.done:
		case <-until:
			return false
		case <-r.ruling.Done():
			return false
		}
	}
	return true
}

// passing are the attempts that are not found again after a detachment.
func (r *reign) passing() []*attempt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*attempt
	for _, a := range r.attempts {
		if !r.resumes(a.entry.Meta.Backend) {
			out = append(out, a)
		}
	}
	return out
}

// detach lets go of all attempts.
func (r *reign) detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.attempts {
		a.cancel(backend.ErrDetached)
	}
}

// keep holds on to the lease.
func (r *reign) keep() {
	every := time.NewTicker(r.opt.Lease / 4)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-r.ruling.Done():
			return
		}
		sent := time.Now()
		ctx, cancel := context.WithTimeout(r.ruling, r.opt.Lease)
		_, err := r.store.Lead(ctx, r.term)
		cancel()
		switch {
		case err == nil:
			r.outage.answered()
			r.kept(sent)
		default:
			r.missed("renew the lease", err)
		}
	}
}

// kept notes a renewal. Part of the lease is left out: the store's clock began later than ours.
func (r *reign) kept(sent time.Time) {
	r.keptUntil.Store(sent.Add(r.opt.Lease * 9 / 10).UnixNano())
	signal(r.work) // what was held back when it had run out may begin
}

// leads says whether no other process can lead yet.
func (r *reign) leads(now time.Time) bool {
	return r.ruling.Err() == nil && now.UnixNano() < r.keptUntil.Load()
}

// missed notes that the store did not do what it was asked: it is away, or another process leads.
func (r *reign) missed(what string, err error) {
	if errors.Is(err, queue.ErrFenced) {
		r.fenced(err)
	} else if r.ruling.Err() == nil && !errors.Is(err, context.Canceled) {
		r.outage.failed(what, err)
	}
}

// fenced ends the reign: another process leads.
func (r *reign) fenced(err error) {
	if r.ruling.Err() == nil {
		r.log.Warn("another process leads; letting go of what runs", "error", err)
	}
	r.end(err)
}

// resign lets the next leader begin at once.
func (r *reign) resign() {
	r.mu.Lock()
	broken := r.machine.Broken()
	r.mu.Unlock()
	if errors.Is(context.Cause(r.ruling), queue.ErrFenced) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ruling), r.opt.Lease)
	defer cancel()
	if err := r.store.Resign(ctx, r.term, broken); err != nil {
		// The lease runs out by itself: the next leader is late, nothing is lost.
		r.log.Error("cannot resign", "error", err)
	}
}

// change tells the machine what happened, and wakes those who carry out what follows.
func (r *reign) change(what func(*schedule.Machine)) {
	r.mu.Lock()
	what(r.machine)
	r.stop()
	r.mu.Unlock()
	signal(r.work)
	signal(r.record)
	signal(r.check)
}

// stop breaks off the attempts that the machine says; the lock is held.
func (r *reign) stop() {
	for _, stop := range r.machine.Stops() {
		if stop.Stray {
			r.reapLater(stop)
		} else if a := r.attempts[stop.Task]; a != nil {
			a.cancel(backend.ErrCancelled)
		}
	}
}

// reapLater ends what an earlier leader left of a task; the lock is held. After the halt that is the next leader's to do.
func (r *reign) reapLater(stop schedule.Stop) {
	if r.taking.Err() == nil {
		r.running.Go(func() { r.reap(stop) })
	}
}

func (r *reign) reap(stop schedule.Stop) {
	select {
	case r.reaping <- struct{}{}:
		defer func() { <-r.reaping }()
	case <-r.taking.Done():
		return
	}
	if reaper, can := r.places[cmp.Or(stop.Backend, queue.RunnerBackend)].Backend.(backend.Reaper); can {
		err := reaper.Reap(r.taking, stop.Task)
		if r.taking.Err() != nil {
			return
		}
		if err != nil {
			r.log.Warn("what an earlier attempt began may go on", "task", stop.Task, "error", err)
		}
	}
	r.change(func(m *schedule.Machine) { m.Gone(time.Now(), stop.Task) })
}
