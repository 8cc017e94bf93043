package schedule

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Those that the map of tasks happened to name first were moved again and again, and the oldest stayed.
func TestTheOldestEntriesAreMovedFirst(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		w.add(fmt.Sprint("t", i), nil) // entry i+1 is as old as millisecond i+1
	}
	w.begin(1)
	w.succeed("t0")
	before := time.UnixMilli(21) // t1 to t19
	var moved []string
	for {
		changes := w.machine.Move(before, 7)
		if len(changes) == 0 {
			break
		}
		for _, c := range changes {
			moved = append(moved, c.Task)
			delete(w.log, c.Move.ID)
			w.add(c.Task, func(e *queue.Entry) { e.Meta = c.Move.Meta })
		}
	}
	var want []string
	for i := range 19 {
		want = append(want, fmt.Sprint("t", i+1))
	}
	if !slices.Equal(moved, want) {
		t.Errorf("moved %v, want %v", moved, want)
	}
	if again := w.machine.Move(time.UnixMilli(1<<40), 100); len(again) != 29 || again[0].Task != "t20" {
		t.Errorf("later %d of 29 are moved", len(again))
	}
}

func TestAgesOfTasksThatHaveEndedAreForgotten(t *testing.T) {
	w := newWorld(t)
	for i := range 10_000 {
		id := fmt.Sprint("t", i)
		w.add(id, nil)
		w.begin(1)
		w.succeed(id)
	}
	if n := len(w.machine.ages); n > 2000 {
		t.Errorf("%d ages are kept of no task", n)
	}
}
