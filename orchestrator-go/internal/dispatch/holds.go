package dispatch

import (
	"context"
	"sync"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// hold is one leased task. Its context ends, with a cause, when the task is to be let go.
type hold struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	since  time.Time

	mu       sync.Mutex
	progress queue.Progress
}

func (h *hold) show(change func(*queue.Progress)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change(&h.progress)
}

func (h *hold) snapshot() queue.Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.progress
}

// holds are the leased tasks of this process, bounded by max.
type holds struct {
	max int

	mu      sync.Mutex
	byEntry map[string]*hold
	freed   chan struct{} // closed and replaced whenever one is removed from a full house
	empty   sync.WaitGroup
}

func newHolds(limit int) *holds {
	return &holds{max: limit, byEntry: make(map[string]*hold), freed: make(chan struct{})}
}

func (s *holds) add(ctx context.Context, lease queue.Lease) *hold {
	ctx, cancel := context.WithCancelCause(ctx)
	h := &hold{
		ctx: ctx, cancel: cancel, since: time.Now(),
		progress: queue.Progress{Lease: lease, State: queue.Queued},
	}
	s.empty.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byEntry[lease.Entry] = h
	return h
}

func (s *holds) remove(h *hold) {
	h.cancel(nil)
	s.mu.Lock()
	full := len(s.byEntry) >= s.max
	delete(s.byEntry, h.snapshot().Lease.Entry)
	if full {
		close(s.freed)
		s.freed = make(chan struct{})
	}
	s.mu.Unlock()
	s.empty.Done()
}

// room waits until something more may be held.
func (s *holds) room(ctx context.Context) (int, bool) {
	for {
		s.mu.Lock()
		free, freed := s.max-len(s.byEntry), s.freed
		s.mu.Unlock()
		if free > 0 {
			return free, ctx.Err() == nil
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return 0, false
		}
	}
}

func (s *holds) free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(0, s.max-len(s.byEntry))
}

func (s *holds) has(entry string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byEntry[entry] != nil
}

func (s *holds) end(entry string, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.byEntry[entry]; h != nil {
		h.cancel(cause)
	}
}

func (s *holds) endTask(id string, cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.byEntry {
		if h.snapshot().Lease.Task.ID == id {
			h.cancel(cause)
		}
	}
}

func (s *holds) olderThan(age time.Duration) []queue.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []queue.Progress
	for _, h := range s.byEntry {
		if time.Since(h.since) >= age {
			out = append(out, h.snapshot())
		}
	}
	return out
}

func (s *holds) wait() { s.empty.Wait() }
