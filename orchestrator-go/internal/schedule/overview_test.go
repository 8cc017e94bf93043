package schedule

import (
	"cmp"
	"maps"

	"dspyagent.io/orchestrator/internal/queue"
)

// recount holds the view against the tasks themselves.
func (w *world) recount() {
	w.t.Helper()
	want := map[Share]Count{}
	for _, t := range w.machine.tasks {
		share := Share{t.entry.Meta.Tenant, cmp.Or(t.entry.Meta.Backend, queue.RunnerBackend), t.entry.Meta.Class}
		n := want[share]
		n.add(t.phase, 1)
		want[share] = n
	}
	got := map[Share]Count{}
	for _, row := range w.machine.View().Rows {
		got[row.Share] = row.Count
	}
	if !maps.Equal(got, want) {
		w.t.Fatalf("the view counts %+v, of %+v", got, want)
	}
}
