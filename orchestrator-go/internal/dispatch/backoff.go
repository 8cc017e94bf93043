package dispatch

import (
	"math/rand/v2"
	"time"
)

// backoff is how long to wait after an attempt (counted from 1) failed: base doubled per
// attempt, at most limit, of which a random half is taken off so that failures spread out.
func backoff(attempt int, base, limit time.Duration) time.Duration {
	wait := base
	for i := 1; i < attempt && wait < limit; i++ {
		wait *= 2
	}
	wait = min(wait, limit)
	return wait/2 + rand.N(wait/2+1)
}
