package runner

import (
	"context"
	"time"
)

// lostAfter is how many checks in a row may fail before the requests in flight are given up.
const lostAfter = 3

// endpoint is one runner; the pool's mutex guards it.
type endpoint struct {
	url       string
	static    bool // named by the configuration, not found by DNS
	healthy   bool
	failures  int // checks failed in a row
	limit     int // requests it takes at once, 0 for unknown
	inFlight  int
	coolUntil time.Time // it answered 429

	ctx  context.Context // of its requests; ends when it is lost or gone
	lose context.CancelFunc
}

func newEndpoint(url string, static bool) *endpoint {
	e := &endpoint{url: url, static: static}
	e.ctx, e.lose = context.WithCancel(context.Background())
	return e
}

func (e *endpoint) available(now time.Time) bool {
	return e.healthy && !now.Before(e.coolUntil) && (e.limit == 0 || e.inFlight < e.limit)
}

func (e *endpoint) passed(i info) {
	if e.ctx.Err() != nil {
		e.ctx, e.lose = context.WithCancel(context.Background())
	}
	e.healthy, e.failures, e.limit = true, 0, i.MaxConcurrent
}

func (e *endpoint) failed() {
	e.healthy = false
	if e.failures++; e.failures >= lostAfter {
		e.lose()
	}
}
