package slurm

import (
	"slices"
	"strconv"
)

// tally collects what is known of a job's end over many looks at it: elements of an array end at different times, and
// Slurm forgets each some minutes later.
type tally struct {
	indices  []int // nil for a single job
	ended    map[int]job
	live     bool // at the last look something had not ended
	last     job  // at the last look: the one record, or the one that shows best where an array is
	restarts int
}

func newTally(indices []int) *tally {
	return &tally{indices: indices, ended: map[int]job{}}
}

// look takes in what Slurm says at one time.
func (t *tally) look(jobs []job) {
	t.live = false
	for i, j := range jobs {
		if i == 0 || j.state == running {
			t.last = j
		}
		t.restarts = max(t.restarts, j.restarts)
		over := j.verdict() != unended
		t.live = t.live || !over
		for _, index := range t.of(j) {
			if over {
				t.ended[index] = j
			} else {
				delete(t.ended, index) // it was requeued
			}
		}
	}
}

// of says which elements a record is about; a single job counts as element 0.
func (t *tally) of(j job) []int {
	if t.indices == nil {
		return []int{0}
	}
	indices, err := expandArray(j.index)
	if err != nil { // none, or too many to be shown: it says nothing about any one of them
		return nil
	}
	return slices.DeleteFunc(indices, func(i int) bool {
		_, ours := slices.BinarySearch(t.indices, i)
		return !ours
	})
}

// missing lists the elements of which no end is known.
func (t *tally) missing() []int {
	if t.indices == nil {
		if _, known := t.ended[0]; known {
			return nil
		}
		return []int{0}
	}
	var missing []int
	for _, index := range t.indices {
		if _, known := t.ended[index]; !known {
			missing = append(missing, index)
		}
	}
	return missing
}

// complete says that all has ended, and for good as far as Slurm tells.
func (t *tally) complete() bool { return !t.live && len(t.missing()) == 0 }

// worst is the most severe verdict among the ends.
func (t *tally) worst() (verdict, job) {
	worst, which := unended, job{}
	for _, j := range t.ended {
		if v := j.verdict(); v > worst {
			worst, which = v, j
		}
	}
	return worst, which
}

// running says that something runs now, or ran before the job was seen first.
func (t *tally) begun() bool {
	return t.last.state == running || len(t.ended) > 0
}

// fileOf names the files of an element, or of a single job, without their suffix.
func (t *tally) fileOf(id int64, index int) string {
	name := strconv.FormatInt(id, 10)
	if t.indices != nil {
		name += "_" + strconv.Itoa(index)
	}
	return name
}
