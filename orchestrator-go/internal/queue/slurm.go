package queue

// SlurmJob is what a result tells of the Slurm job that made it.
type SlurmJob struct {
	JobID    int64       `json:"job_id"`
	State    string      `json:"state" doc:"In Slurm's words; of an array its most severe."`
	Nodes    string      `json:"nodes,omitempty"`
	Restarts int         `json:"restarts" doc:"After a node's failure, a preemption, a requeue."`
	Output   string      `json:"output,omitempty" doc:"Folder of its outputs, on the file system that the nodes share; absent when none were kept."`
	Array    *SlurmArray `json:"array,omitempty"`
}

// SlurmArray counts an array's elements.
type SlurmArray struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states" doc:"How many elements ended in each of Slurm's states."`
	Ends   []SlurmElement `json:"ends" nullable:"false" doc:"In the order of the indices, at most a thousand."`
}

// SlurmElement is how an element of an array ended.
type SlurmElement struct {
	Index    int    `json:"index"`
	State    string `json:"state"`
	ExitCode int    `json:"exit_code"`
	Signal   int    `json:"signal,omitempty"`
}

// elementBytes is about what an element takes in JSON.
const elementBytes = 64

// Size is about how many bytes a result has, as far as that varies; none has 0.
func (r *Result) Size() int {
	if r == nil {
		return 0
	}
	n := len(r.Stdout) + len(r.Stderr)
	if r.Slurm != nil && r.Slurm.Array != nil {
		n += elementBytes * len(r.Slurm.Array.Ends)
	}
	return n
}
