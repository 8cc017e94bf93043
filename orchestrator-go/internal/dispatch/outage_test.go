package dispatch

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// pages is a log that is read while it is written.
type pages struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (p *pages) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.Write(line)
}

// count is how many lines have a text.
func (p *pages) count(text string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Count(p.text.String(), text)
}

// A line was logged for each request that failed, ten a second.
func TestAStoreThatIsAwayIsLoggedNowAndThen(t *testing.T) {
	for _, leads := range []bool{true, false} {
		simulate(t, func(t *testing.T, w *world) {
			log, lost := &pages{}, &away{}
			if !leads {
				other := w.start("other", nil)
				defer w.stop(other)
				time.Sleep(time.Second)
			}
			w.log = log
			p := w.start("a", lost.mishap)
			w.on("t", lasting(5*time.Second)) // its end is recorded again and again
			w.store.enqueue("t", queue.Spec{})
			w.store.enqueue("u", queue.Spec{NotBefore: time.Now().Add(10 * time.Second)})
			time.Sleep(time.Second)
			for range 2 {
				lost.now.Store(true)
				time.Sleep(100 * time.Second)
				lost.now.Store(false)
				time.Sleep(10 * time.Second)
			}
			away, still := log.count(`msg="the store does not`), log.count(`msg="the store still`)
			back, faults := log.count(`msg="the store answers`), log.count("level=ERROR")
			if away != 2 || still != 6 || back != 2 || faults != 8 {
				t.Errorf("of two times away it says %d, %d and %d, in %d lines:\n%s", away, still, back, faults, &log.text)
			}
			w.stop(p)
		})
	}
}
