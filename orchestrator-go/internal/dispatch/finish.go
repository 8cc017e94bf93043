package dispatch

import (
	"context"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

const (
	// finisherCount lets one group of outcomes be written while another gathers.
	finisherCount = 2
	maxFinish     = 512
	// finishTimeout bounds one try; a store that is away is asked again for finishPatience.
	finishTimeout  = 5 * time.Second
	finishPatience = 5 * time.Minute
)

// ending is a held task whose end is to be recorded; it stays held until that is done,
// lest this process reclaim it from itself when the store is slow.
type ending struct {
	hold       *hold
	completion queue.Completion
}

// finishLoop records outcomes in groups: whatever arrives during one write goes into the next.
func (d *Dispatcher) finishLoop() {
	for first := range d.done {
		group := []ending{first}
		for len(group) < maxFinish {
			select {
			case c, open := <-d.done:
				if open {
					group = append(group, c)
					continue
				}
			default:
			}
			break
		}
		d.record(group)
		for _, e := range group {
			d.held.remove(e.hold)
		}
	}
}

// record insists: the work is done, and giving up would have it done again.
func (d *Dispatcher) record(group []ending) {
	completions := make([]queue.Completion, len(group))
	for i, e := range group {
		completions[i] = e.completion
	}
	for until := time.Now().Add(finishPatience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
		recorded, err := d.queue.Finish(ctx, completions)
		cancel()
		if err == nil {
			d.count(completions, recorded)
			return
		}
		d.log.Error("cannot record outcomes; trying again", "tasks", len(group), "error", err)
		if time.Now().After(until) {
			d.log.Error("gave up recording outcomes; the tasks run again when their leases expire", "tasks", len(group))
			return
		}
		pause(context.Background(), storePause)
	}
}

func (d *Dispatcher) count(group []queue.Completion, recorded []bool) {
	for i, c := range group {
		if recorded[i] {
			d.metrics.finished.WithLabelValues(string(c.Lease.Task.Spec.Class), string(c.Outcome.State)).Inc()
		}
	}
}
