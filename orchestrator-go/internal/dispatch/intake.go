package dispatch

import (
	"time"

	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/schedule"
)

const (
	readLimit  = 1000
	atOnce     = time.Duration(-1) // as the time that a read waits
	straysEach = time.Second       // between two looks for what former leaders were given
)

// intake takes over what there is, then reads what is new.
func (r *reign) intake() {
	begun := time.Now()
	count, all := r.adoptAll()
	if !all {
		return
	}
	// What nobody has read yet may hold parents, too, of which the entries were appended again.
	read, all := r.readAll()
	if !all {
		return
	}
	count += read
	r.adoptStrays() // a former leader may have been given some between the two
	r.change(func(m *schedule.Machine) { m.Adopted(time.Now()) })
	r.log.Info("took the queue over", "tasks", count, "seconds", time.Since(begun).Seconds())
	for last := time.Now(); r.taking.Err() == nil; {
		r.read()
		if time.Since(last) >= straysEach {
			last = time.Now()
			r.adoptStrays()
		}
	}
}

// readAll reads what is in the log by now, and counts it; it reports false when the term ended first.
func (r *reign) readAll() (count int, all bool) {
	for {
		entries, err := r.store.Next(r.taking, readLimit, atOnce)
		if r.taking.Err() != nil {
			return count, false
		}
		if err != nil && len(entries) > 0 {
			r.log.Error("cannot read something in the log", "entries", len(entries), "error", err)
		}
		r.admit(entries)
		count += len(entries)
		switch {
		case err != nil && len(entries) == 0:
			r.missed("read the log", err)
			pause(r.taking, storePause)
			r.adoptAll() // what the store gave us unheard is not given again
		case len(entries) < readLimit:
			return count, true
		}
	}
}

// read reads new entries and admits them.
func (r *reign) read() {
	entries, err := r.store.Next(r.taking, readLimit, r.opt.Block)
	if r.taking.Err() != nil {
		return // they stay the store's to hand out
	}
	if err != nil && len(entries) > 0 {
		r.log.Error("cannot read something in the log", "entries", len(entries), "error", err)
	}
	if err != nil && len(entries) == 0 {
		r.missed("read the log", err)
		pause(r.taking, storePause)
		r.adoptAll() // what the store gave us unheard is not given again
		return
	}
	r.mu.Lock()
	dangling := r.machine.Dangling(entries)
	r.mu.Unlock()
	if dangling {
		r.adoptStrays() // a former leader was given what they refer to
	}
	r.admit(entries)
}

// adoptAll takes over every task that has not ended, and counts them; it reports false when the term ended first.
func (r *reign) adoptAll() (count int, all bool) {
	for cursor := ""; ; {
		entries, next, err := r.store.Adopt(r.taking, cursor, true)
		if r.taking.Err() != nil {
			return count, false
		}
		if err != nil && len(entries) > 0 {
			r.log.Error("cannot read something in tasks that are taken over", "tasks", len(entries), "error", err)
		}
		if err != nil && len(entries) == 0 {
			r.missed("take tasks over", err)
			pause(r.taking, storePause)
			continue
		}
		r.admit(entries)
		count += len(entries)
		if cursor = next; cursor == "" {
			return count, true
		}
	}
}

// adoptStrays takes over what former leaders were given since.
func (r *reign) adoptStrays() {
	for {
		entries, _, err := r.store.Adopt(r.taking, "", false)
		if err != nil && len(entries) > 0 {
			r.log.Error("cannot read something in stray tasks", "tasks", len(entries), "error", err)
		}
		if err != nil && len(entries) == 0 {
			r.missed("look for stray tasks", err)
			r.adoptAll() // some may be ours by now, unheard
			return
		}
		if len(entries) == 0 {
			return
		}
		r.admit(entries)
	}
}

// admit admits entries.
func (r *reign) admit(entries []queue.Entry) {
	if len(entries) == 0 {
		return
	}
	r.change(func(m *schedule.Machine) {
		now := time.Now()
		for _, e := range entries {
			m.Admit(now, e)
		}
	})
}
