package dispatch

import (
	"fmt"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// As many as there are, however few go into one transaction: what is left behind keeps the log from being cut short.
func TestAllThatIsOldIsMovedAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.KeepInLog = time.Minute
		p := w.start("a", nil)
		begun := time.Now()
		const tasks = 3*maxRecord + 1
		for i := range tasks {
			w.store.enqueue(fmt.Sprint(i), queue.Spec{NotBefore: begun.Add(100 * time.Second)})
		}
		time.Sleep(95 * time.Second)
		if n := w.store.moved(); n != tasks {
			t.Errorf("%d of %d were moved", n, tasks)
		}
		time.Sleep(time.Minute)
		w.stop(p)
		w.finish()
	})
}
