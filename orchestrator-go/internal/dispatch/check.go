package dispatch

import (
	"time"

	"dspyagent.io/orchestrator/internal/schedule"
)

// checkLimit is how many entries are looked up in one go.
const checkLimit = 512

// checkLoop asks the store about entries that may be stale, until all is recorded.
func (r *reign) checkLoop() {
	for r.recording.Err() == nil {
		if r.checkSome() {
			continue
		}
		select {
		case <-r.check:
		case <-r.recording.Done():
		}
	}
}

// checkSome asks about some; it reports whether there were any.
func (r *reign) checkSome() bool {
	r.mu.Lock()
	entries := r.machine.Checks(checkLimit)
	r.mu.Unlock()
	if len(entries) == 0 {
		return false
	}
	wanted, err := r.store.Wanted(r.recording, entries)
	if err != nil && r.recording.Err() == nil {
		r.missed("look tasks up", err)
		pause(r.recording, storePause)
	}
	r.change(func(m *schedule.Machine) {
		if err != nil {
			m.NotChecked(entries)
			return
		}
		now := time.Now()
		for i, e := range entries {
			m.Checked(now, e, wanted[i])
		}
	})
	return true
}
