package dispatch

import (
	"log/slog"
	"sync"
	"time"
)

const (
	// remindEvery is between two lines on a store that is still away.
	remindEvery = 30 * time.Second
	// calm is how long nothing must have failed for the store to be back. It is longer than a request takes to fail: those
	// of one kind may fail while others are answered.
	calm = recordTimeout + time.Second
)

// outage logs when the store goes away and when it is back. All that asks it fails meanwhile, several times a second.
type outage struct {
	log *slog.Logger

	mu          sync.Mutex
	since, last time.Time // of the failures; zero while the store answers
	line        time.Time // when it was last logged
	failures    int
}

// failed notes that the store did not do what it was asked; it is asked again.
func (o *outage) failed(what string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.last = now; o.since.IsZero() {
		o.since, o.line, o.failures = now, now, 1
		o.log.Error("the store does not answer as it should; trying again", "failed", what, "error", err)
		return
	}
	o.failures++
	if now.Sub(o.line) >= remindEvery {
		o.line = now
		o.log.Error("the store still does not answer as it should; trying again",
			"failed", what, "error", err, "failures", o.failures, "seconds", now.Sub(o.since).Seconds())
	}
}

// answered notes that the store did what it was asked.
func (o *outage) answered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since.IsZero() || time.Since(o.last) < calm {
		return
	}
	o.log.Info("the store answers again", "failures", o.failures, "seconds", o.last.Sub(o.since).Seconds())
	o.since = time.Time{}
}
