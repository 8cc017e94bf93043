package limitsim

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"dspyagent.io/orchestrator/internal/limit"
)

// limitEvery is how often a trace notes the limit.
const limitEvery = 100 * time.Millisecond

// Run plays the scenario. Sleep is time.Sleep in a synctest bubble, or nil for limiters that
// never look at the clock.
func Run(limiter limit.Limiter, scenario Scenario, sleep func(time.Duration)) Trace {
	r := &run{
		Scenario: scenario, limiter: limiter, servers: scenario.Servers, slowdown: 1,
		random: rand.New(rand.NewPCG(scenario.Seed, 0)),
	}
	for _, step := range scenario.Steps {
		r.at(step.At, func() { r.step(step) })
	}
	r.at(0, r.noteLimit)
	if scenario.PressureEvery > 0 {
		r.at(scenario.PressureEvery, r.reportPressure)
	}
	if scenario.Rate > 0 {
		r.at(0, r.arrive)
	}
	for r.send(); len(r.events) > 0; r.send() {
		next := heap.Pop(&r.events).(event)
		if next.at > scenario.Length {
			break
		}
		if sleep != nil && next.at > r.now {
			sleep(next.at - r.now)
		}
		r.now = next.at
		next.happen()
	}
	return r.trace
}

// run is a scenario being played.
type run struct {
	Scenario
	limiter  limit.Limiter
	random   *rand.Rand
	now      time.Duration
	events   events
	sequence int

	backlog  int // requests without a permit, where Rate is set
	servers  int
	slowdown float64
	busy     int
	waiting  []*request
	trace    Trace
}

// request is one that has a permit.
type request struct {
	permit  limit.Permit
	begun   time.Duration
	service time.Duration
	back    time.Duration // the way back
}

func (r *run) at(when time.Duration, happen func()) {
	r.sequence++
	heap.Push(&r.events, event{when, r.sequence, happen})
}

// send starts as many requests as the limiter permits.
func (r *run) send() {
	for r.Rate == 0 || r.backlog > 0 {
		permit, ok := r.limiter.TryAcquire()
		if !ok {
			return
		}
		r.backlog--
		way := func() time.Duration { return time.Duration((0.5 + r.random.Float64()) * float64(r.Network) / 2) }
		q := &request{permit: permit, begun: r.now, back: way()}
		r.at(r.now+way(), func() { r.reach(q) })
	}
}

func (r *run) arrive() {
	r.backlog++
	r.at(r.now+time.Duration(r.random.ExpFloat64()/r.Rate*float64(time.Second)), r.arrive)
}

// reach is a request's arrival at the server.
func (r *run) reach(q *request) {
	switch {
	case r.busy < r.servers:
		r.serve(q)
	case len(r.waiting) < r.Queue:
		r.waiting = append(r.waiting, q)
	default:
		r.at(r.now+q.back, func() {
			r.trace.Ends = append(r.trace.Ends, End{At: r.now, Latency: r.now - q.begun, Dropped: true})
			q.permit.Dropped()
		})
	}
}

func (r *run) serve(q *request) {
	r.busy++
	factor := r.slowdown * (1 + r.Contention*float64(len(r.waiting))/float64(r.servers))
	q.service = time.Duration(factor * float64(r.Shape.draw(r.random, r.Mean)))
	r.at(r.now+q.service, func() {
		r.busy--
		r.serveWaiting()
		r.at(r.now+q.back, func() { r.answer(q) })
	})
}

func (r *run) serveWaiting() {
	for r.busy < r.servers && len(r.waiting) > 0 {
		next := r.waiting[0]
		r.waiting = r.waiting[1:]
		r.serve(next)
	}
}

func (r *run) answer(q *request) {
	latency := r.now - q.begun
	r.trace.Ends = append(r.trace.Ends, End{At: r.now, Latency: latency})
	if r.Overhead {
		latency -= q.service
	}
	q.permit.Done(latency)
}

func (r *run) step(s Step) {
	r.servers, r.slowdown = s.Servers, max(s.Slowdown, 0)
	if r.slowdown == 0 {
		r.slowdown = 1
	}
	r.serveWaiting()
}

func (r *run) noteLimit() {
	r.trace.Limits = append(r.trace.Limits, r.limiter.Limit())
	r.at(r.now+limitEvery, r.noteLimit)
}

func (r *run) reportPressure() {
	r.limiter.Pressure(float64(r.busy+len(r.waiting)) / float64(r.servers))
	r.at(r.now+r.PressureEvery, r.reportPressure)
}

type event struct {
	at       time.Duration
	sequence int // events of one time happen in the order in which they were made
	happen   func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || (e[i].at == e[j].at && e[i].sequence < e[j].sequence)
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
