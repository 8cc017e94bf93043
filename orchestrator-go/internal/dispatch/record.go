package dispatch

import (
	"context"
	"errors"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

const (
	// maxRecord is how many ends are recorded in one transaction.
	maxRecord = 512
	// maxRecordBytes is of how many bytes the results in one transaction are, about: it has recordTimeout.
	maxRecordBytes = 8 << 20
	// recordEvery is between the begins of two transactions: each costs the store a sync, and both sides a round trip.
	recordEvery   = time.Millisecond
	recordTimeout = 5 * time.Second
	// lastPatience is how long a store that is away is asked again at the end of everything.
	lastPatience = 10 * time.Second
	moveEvery    = 30 * time.Second
	// maxMoves is of how many batches a move consists, in case that the store's clock is so late that all stays old.
	maxMoves = 4096
)

// recordLoop records what becomes of tasks, one transaction after the other, until the reign has ended and nothing is
// left. Whatever happens during one, and for a moment after it, goes into the next (group commit).
func (r *reign) recordLoop() {
	move := time.NewTicker(moveEvery)
	defer move.Stop()
	for {
		began := time.Now()
		if r.recordSome() {
			if wait := time.Until(began.Add(recordEvery)); wait > 0 {
				pause(r.recording, wait)
			}
			select {
			case <-move.C: // under load there is always something to record
				r.move()
			default:
			}
			continue
		}
		select {
		case <-r.record:
		case <-move.C:
			r.move()
		case <-r.recording.Done():
			for r.recordSome() {
			}
			return
		}
	}
}

// recordSome records what there is, up to a bound; it reports whether that was anything.
func (r *reign) recordSome() bool {
	r.mu.Lock()
	changes := r.machine.Drain(time.Now(), maxRecord, maxRecordBytes)
	r.mu.Unlock()
	if len(changes) == 0 {
		return false
	}
	if !r.insist(changes) {
		return false
	}
	r.mu.Lock()
	r.machine.Recorded(time.Now(), changes)
	for _, c := range changes {
		r.letGo(c)
		if c.Outcome != nil {
			r.metrics.finished.WithLabelValues(string(c.Class), string(c.Outcome.State)).Inc()
		}
	}
	r.mu.Unlock()
	signal(r.work)
	signal(r.check)
	return true
}

// hold counts a result that is to be recorded among the bytes of what runs: else a slow store would have them pile up.
// The lock is held.
func (r *reign) hold(task string, result *queue.Result) {
	if bytes := int64(result.Size()); bytes > 0 {
		r.held[task] = bytes
		r.bytes += bytes
	}
}

// letGo counts a result no more that is recorded, be it as where its task stands: its children need the room. The lock
// is held.
func (r *reign) letGo(c queue.Change) {
	if c.Outcome != nil || c.Standing != nil && c.Standing.Own != nil {
		r.bytes -= r.held[c.Task]
		delete(r.held, c.Task)
	}
}

// insist records changes however long the store is away: the work is done, and giving up would have it done again.
// It reports false when another process leads, which has it done again.
func (r *reign) insist(changes []queue.Change) bool {
	var last time.Time // after the end of everything
	for again := false; ; again = true {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ruling), recordTimeout)
		err := r.store.Record(ctx, r.term, changes, again)
		cancel()
		switch {
		case err == nil:
			return true
		case errors.Is(err, queue.ErrFenced):
			r.fenced(err)
			return false
		case r.recording.Err() != nil && last.IsZero():
			last = time.Now().Add(lastPatience)
		case !last.IsZero() && time.Now().After(last):
			r.log.Error("gave up recording; the tasks run again", "tasks", len(changes), "error", err)
			return false
		}
		r.missed("record what became of tasks", err)
		pause(context.WithoutCancel(r.ruling), storePause)
	}
}

// move appends old entries again, all of them; see schedule.Machine.Move. What is to be recorded takes turns with it.
func (r *reign) move() {
	before := time.Now().Add(-r.opt.KeepInLog)
	for range maxMoves {
		if r.taking.Err() != nil {
			return // after the halt nobody reads what is appended, and takes back its attempt at the end
		}
		r.mu.Lock()
		changes := r.machine.Move(before, maxRecord)
		r.mu.Unlock()
		if len(changes) == 0 || !r.insist(changes) {
			return
		}
		r.recordSome()
	}
}
