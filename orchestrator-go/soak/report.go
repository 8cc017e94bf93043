package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxFaults bounds what is said of a soak that goes all wrong.
const maxFaults = 20

// report is what a soak came to.
type report struct {
	took, verified      time.Duration
	refused, unanswered atomic.Int64 // requests: for want of room, and by processes that were down
	kills               atomic.Int64

	sent, lost, twice, wrong   int // tasks
	reads                      int // again and again, of some
	attempts, repeated, failed int // attempts
	states                     map[string]int
	memory                     map[string][4]float64

	mu      sync.Mutex
	killed  map[string]int
	changes []change
	starts  []time.Duration // of the store
	resumes []time.Duration // from a leader's kill to the first attempt of the next
	faults  []error
	more    int
}

func (r *report) kill(what string) {
	r.kills.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed == nil {
		r.killed = map[string]int{}
	}
	r.killed[what]++
}

func (r *report) changed(c change) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changes = append(r.changes, c)
}

func (r *report) recovered(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.starts = append(r.starts, took)
}

func (r *report) fault(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.states == nil {
		r.states = map[string]int{}
	}
	if len(r.faults) == maxFaults {
		r.more++
		return
	}
	r.faults = append(r.faults, err)
}

// resumed finds when the first attempt of the next leader began after each change, by the first attempt of each epoch.
func (r *report) resumed(first map[int64]time.Time) {
	r.states = map[string]int{}
	epochs := slices.Sorted(maps.Keys(first))
	for _, c := range r.changes {
		for _, epoch := range epochs {
			if epoch > c.epoch {
				r.resumes = append(r.resumes, first[epoch].Sub(c.at))
				break
			}
		}
	}
}

// String is the report as a table.
func (r *report) String() string {
	var b strings.Builder
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(&b, "%-34s %s\n", name, fmt.Sprintf(format, args...))
	}
	row("tasks", "%d in %.0f s, %.0f a second; read again in %.0f s", r.sent, r.took.Seconds(), float64(r.sent)/r.took.Seconds(), r.verified.Seconds())
	row("lost, twice, wrong", "%d, %d, %d", r.lost, r.twice, r.wrong)
	row("ended as", "%v", r.states)
	row("attempts", "%d, of which failed on purpose %d, repeated %d", r.attempts, r.failed, r.repeated)
	row("reads of some tasks", "%d", r.reads)
	row("requests refused, unanswered", "%d, %d", r.refused.Load(), r.unanswered.Load())
	row("kills", "%d: %v", r.kills.Load(), r.killed)
	var took []time.Duration
	for _, c := range r.changes {
		took = append(took, c.took)
	}
	row("another leads after", "%s", spread(took))
	row("its first attempt after", "%s", spread(r.resumes))
	row("the store answers again after", "%s", spread(r.starts))
	for _, role := range slices.Sorted(maps.Keys(r.memory)) {
		m := r.memory[role]
		row("MiB of "+role+", by quarter", "%.0f %.0f %.0f %.0f", m[0], m[1], m[2], m[3])
	}
	if r.more > 0 {
		row("faults beyond those shown", "%d", r.more)
	}
	return b.String()
}

func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "-"
	}
	s := slices.Sorted(slices.Values(times))
	ms := func(i int) int64 { return s[i].Milliseconds() }
	return fmt.Sprintf("median %d ms, 95%% %d ms, at most %d ms, of %d", ms(len(s)/2), ms(len(s)*95/100), ms(len(s)-1), len(s))
}
