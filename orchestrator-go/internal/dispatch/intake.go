package dispatch

import (
	"context"
	"errors"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// storePause is how long a loop waits before it asks a failing store again.
const storePause = 200 * time.Millisecond

// readLoop leases as many tasks as there are free slots, so that nothing waits
// here for long while another replica idles.
func (d *Dispatcher) readLoop(ctx, work context.Context) {
	for {
		n, ok := d.freeSlots(ctx)
		if !ok {
			return
		}
		leases, err := d.queue.Read(ctx, n, d.opt.Block)
		for _, lease := range leases {
			d.hold(work, lease)
		}
		// Being told to stop is no failure; others are worth a line then, too.
		if err != nil && !errors.Is(err, context.Canceled) {
			d.log.Error("cannot read the queue; trying again", "error", err)
			pause(ctx, storePause)
		}
	}
}

// freeSlots waits until a slot is free and something more may be held. It reserves
// nothing: a read may wait long, and retries must not wait for it.
func (d *Dispatcher) freeSlots(ctx context.Context) (int, bool) {
	room, ok := d.held.room(ctx)
	if !ok {
		return 0, false
	}
	select {
	case d.slots <- struct{}{}:
		<-d.slots
	case <-ctx.Done():
		return 0, false
	}
	return max(1, min(room, cap(d.slots)-len(d.slots))), true
}

// reclaimLoop takes over the tasks of processes that went silent.
func (d *Dispatcher) reclaimLoop(ctx, work context.Context) {
	for every := time.NewTicker(d.opt.Lease / 5); ; {
		select {
		case <-every.C:
		case <-ctx.Done():
			every.Stop()
			return
		}
		room := min(d.held.free(), d.opt.Workers)
		if room == 0 {
			continue
		}
		leases, err := d.queue.Reclaim(ctx, room, d.held.has)
		if err != nil && !errors.Is(err, context.Canceled) {
			d.log.Error("cannot look for expired leases; trying again", "error", err)
		}
		for _, lease := range leases {
			d.metrics.reclaimed.Inc()
			d.hold(work, lease)
		}
	}
}

func (d *Dispatcher) hold(work context.Context, lease queue.Lease) {
	h := d.held.add(work, lease)
	go d.carry(h)
}

// renewLoop keeps the leases and ends the attempts that are no longer wanted.
func (d *Dispatcher) renewLoop(ctx context.Context) {
	interval := d.opt.Lease / 3
	for every := time.NewTicker(interval); ; {
		select {
		case <-every.C:
		case <-ctx.Done():
			every.Stop()
			return
		}
		// The young ones have their whole lease ahead of them: most tasks end before their first renewal.
		renewal, err := d.queue.Renew(ctx, d.held.olderThan(interval))
		if err != nil && ctx.Err() == nil {
			d.log.Error("cannot renew leases; trying again", "error", err)
		}
		for _, entry := range renewal.Lost {
			d.held.end(entry, errLeaseLost)
		}
		for _, entry := range renewal.Ended {
			d.held.end(entry, errEnded)
		}
	}
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
