package slurm

import (
	"maps"
	"slices"

	"dspyagent.io/orchestrator/internal/queue"
)

// maxShown bounds how many elements of an array a summary names one by one.
const maxShown = 1000

// describe is what a result tells of the job itself.
func (f *follower) describe(worst job) *queue.SlurmJob {
	s := &queue.SlurmJob{JobID: f.id, State: string(worst.state), Nodes: worst.nodes, Restarts: f.tally.restarts, Output: f.p.folder}
	if f.p.indices == nil {
		return s
	}
	a := &queue.SlurmArray{Total: len(f.p.indices), States: map[string]int{}, Ends: []queue.SlurmElement{}}
	for _, index := range slices.Sorted(maps.Keys(f.tally.ended)) {
		j := f.tally.ended[index]
		a.States[string(j.state)]++
		if len(a.Ends) < maxShown {
			a.Ends = append(a.Ends, queue.SlurmElement{Index: index, State: string(j.state), ExitCode: j.exit.code, Signal: j.exit.signal})
		}
	}
	s.Array = a
	return s
}

// representative is the element whose end stands for an array's: the first that did not complete, else the first.
func (t *tally) representative() job {
	var first *job
	for _, index := range slices.Sorted(maps.Keys(t.ended)) {
		j := t.ended[index]
		if j.state != completed {
			return j
		}
		if first == nil {
			first = &j
		}
	}
	if first == nil {
		return job{}
	}
	return *first
}
