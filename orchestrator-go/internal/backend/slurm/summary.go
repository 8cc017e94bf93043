package slurm

import (
	"maps"
	"slices"
)

// maxShown bounds how many elements of an array a summary names one by one.
const maxShown = 1000

// Summary is what a result tells of the job itself.
type Summary struct {
	JobID    int64  `json:"job_id"`
	State    string `json:"state"` // in Slurm's words; of an array its most severe
	Nodes    string `json:"nodes,omitempty"`
	Restarts int    `json:"restarts"` // after a node's failure, a preemption, a requeue
	// Output is the folder of its outputs, on the file system that the nodes share; empty: none were kept, since
	// no spool is configured.
	Output string        `json:"output,omitempty"`
	Array  *ArraySummary `json:"array,omitempty"`
}

// ArraySummary counts an array's elements.
type ArraySummary struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states"`
	// Ends are those of the elements in order of their indices; of many only the first thousand.
	Ends []ElementEnd `json:"ends"`
}

// ElementEnd is how an element of an array ended.
type ElementEnd struct {
	Index    int    `json:"index"`
	State    string `json:"state"`
	ExitCode int    `json:"exit_code"`
	Signal   int    `json:"signal,omitempty"`
}

func (f *follower) describe(worst job) Summary {
	s := Summary{JobID: f.id, State: string(worst.state), Nodes: worst.nodes, Restarts: f.tally.restarts, Output: f.p.folder}
	if f.p.indices == nil {
		return s
	}
	a := &ArraySummary{Total: len(f.p.indices), States: map[string]int{}}
	for _, index := range slices.Sorted(maps.Keys(f.tally.ended)) {
		j := f.tally.ended[index]
		a.States[string(j.state)]++
		if len(a.Ends) < maxShown {
			a.Ends = append(a.Ends, ElementEnd{index, string(j.state), j.exit.code, j.exit.signal})
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
