package dispatch

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
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

// Attempts began as long as there were tasks, and their results filled the memory.
func TestResultsThatCannotBeRecordedTakeUpRoom(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.MaxBytes = 100
		lost := &away{ops: []string{"record"}}
		p := w.start("a", lost.mishap)
		lost.now.Store(true)
		for i := range 10 {
			id := fmt.Sprint(i)
			w.on(id, func(context.Context, backend.Attempt) (*queue.Result, error) {
				return &queue.Result{Reason: "Completed", Stdout: strings.Repeat("x", 20)}, nil
			})
			w.store.enqueue(id, queue.Spec{OutputLimitBytes: 20})
		}
		time.Sleep(time.Minute)
		began := 0
		for i := range 10 {
			began += w.attempts(fmt.Sprint(i))
		}
		if began != 3 { // two take up 41 bytes each, of which 20 are kept
			t.Errorf("%d began, whose results are kept", began)
		}
		lost.now.Store(false)
		time.Sleep(time.Minute)
		for i := range 10 {
			w.expect(fmt.Sprint(i), queue.Succeeded, "")
		}
		w.stop(p)
		w.finish()
	})
}

// A parent whose result is recorded waits for its children, which need the room.
func TestAResultThatIsRecordedTakesUpNoRoomWhileItsTaskWaits(t *testing.T) {
	simulate(t, func(t *testing.T, w *world) {
		w.opt.MaxBytes = 50
		p := w.start("a", nil)
		w.on("parent", func(ctx context.Context, _ backend.Attempt) (*queue.Result, error) {
			pause(ctx, time.Second)
			return &queue.Result{Reason: "Completed", Stdout: strings.Repeat("x", 40)}, nil
		})
		w.store.enqueue("parent", queue.Spec{OutputLimitBytes: 20})
		time.Sleep(100 * time.Millisecond)
		w.store.enqueue("child", queue.Spec{Parent: "parent", OutputLimitBytes: 20})
		time.Sleep(10 * time.Second)
		w.expect("child", queue.Succeeded, "")
		w.expect("parent", queue.Succeeded, "")
		w.stop(p)
		w.finish()
	})
}
