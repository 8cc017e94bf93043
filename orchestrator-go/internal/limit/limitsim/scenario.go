// Package limitsim holds limiters against a simulated server whose knee is known.
//
// The server carries out a number of requests at once and lets the rest wait, first come first
// served; beyond a bound on the waiting it turns requests away. It may suffer from contention:
// the more wait, the longer each request takes. Its capacity steps in the middle of a run.
//
// A run is one goroutine's loop over events, so it is the same for the same seed. Limiters that
// read the clock see simulated time when the run happens in a testing/synctest bubble and is
// given time.Sleep.
package limitsim

import (
	"math"
	"math/rand/v2"
	"time"
)

// Shape is how service times are distributed around their mean.
type Shape string

// The shapes: all take the mean; exponential; log-normal with a coefficient of variation of 2.
const (
	Constant    Shape = "constant"
	Exponential Shape = "exponential"
	HeavyTailed Shape = "heavy-tailed"
)

// heavySigma makes the log-normal's coefficient of variation sqrt(exp(sigma^2)-1) = 2.
var heavySigma = math.Sqrt(math.Log(5))

func (s Shape) draw(random *rand.Rand, mean time.Duration) time.Duration {
	switch s {
	case Exponential:
		return time.Duration(random.ExpFloat64() * float64(mean))
	case HeavyTailed:
		return time.Duration(math.Exp(heavySigma*random.NormFloat64()-heavySigma*heavySigma/2) * float64(mean))
	default:
		return mean
	}
}

// Server is what the limiter protects.
type Server struct {
	Servers    int           // requests carried out at once: the knee
	Mean       time.Duration // of the service times
	Shape      Shape
	Network    time.Duration // mean of the round trip around the service; uniform within half of it
	Queue      int           // requests that may wait; more are turned away
	Contention float64       // a service that begins with w others waiting takes 1+Contention*w/Servers times as long
	// Overhead leaves the service time out of the latency that the limiter is told, as the
	// orchestrator does with what the runner measured; what remains is waiting and network.
	Overhead bool
}

// Step changes the server in the middle of a run. Requests that are being carried out go on.
type Step struct {
	At       time.Duration
	Servers  int     // from now on
	Slowdown float64 // factor on service times from now on; 0 stands for 1
}

// Scenario is one run.
type Scenario struct {
	Server
	Steps         []Step
	Rate          float64       // requests per second, as a Poisson process; 0 is an endless backlog
	Length        time.Duration // of the run
	PressureEvery time.Duration // how often the server reports its pressure; 0 is never
	Seed          uint64
}

// End is how one request ended.
type End struct {
	At      time.Duration // since the begin of the run
	Latency time.Duration // from its permit to its end, service included
	Dropped bool
}

// Trace is what happened in a run.
type Trace struct {
	Ends   []End // by At
	Limits []int // at each tenth of a second
}
