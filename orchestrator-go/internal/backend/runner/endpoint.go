package runner

import (
	"context"
	"time"
)

// endpoint is one runner; the pool's mutex guards it.
type endpoint struct {
	url       string
	static    bool // named by the configuration, not found by DNS
	gone      bool // no name stands for it any more: it gets no tasks, and is kept until none is in flight
	healthy   bool
	checking  bool      // a check is under way
	failing   time.Time // when the first check was sent of those that failed in a row; zero for none
	limit     int       // requests it takes at once, 0 for unknown
	inFlight  int
	coolUntil time.Time // it answered 429

	ctx  context.Context // of its requests; ends when it is lost or forgotten
	lose context.CancelFunc
}

func newEndpoint(url string, static bool) *endpoint {
	e := &endpoint{url: url, static: static}
	e.ctx, e.lose = context.WithCancel(context.Background())
	return e
}

func (e *endpoint) available(now time.Time) bool {
	return e.healthy && !e.gone && !now.Before(e.coolUntil) && (e.limit == 0 || e.inFlight < e.limit)
}

func (e *endpoint) passed(i info) {
	if e.ctx.Err() != nil {
		e.ctx, e.lose = context.WithCancel(context.Background())
	}
	e.healthy, e.failing, e.limit = true, time.Time{}, i.MaxConcurrent
}

// failed notes that a check failed which was sent at a time. Once the checks have failed for as long as
// patience, be it one that went unanswered or several refused, the runner is lost with all it runs.
func (e *endpoint) failed(sent, now time.Time, patience time.Duration) {
	if e.healthy = false; e.failing.IsZero() {
		e.failing = sent
	}
	if now.Sub(e.failing) >= patience {
		e.lose()
	}
}
