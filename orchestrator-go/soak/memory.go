package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

const memoryEvery = time.Second

// memory samples what the processes keep resident, by role.
type memory struct {
	mu      sync.Mutex
	samples []sample
	stopped chan struct{}
	done    sync.WaitGroup
}

type sample struct {
	at   time.Time
	role string
	mib  float64
}

func newMemory() *memory { return &memory{stopped: make(chan struct{})} }

func (m *memory) watch(processes []*process) {
	m.done.Go(func() {
		every := time.NewTicker(memoryEvery)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-m.stopped:
				return
			}
			for _, p := range processes {
				m.take(p)
			}
		}
	})
}

func (m *memory) stop() {
	close(m.stopped)
	m.done.Wait()
}

func (m *memory) take(p *process) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid()))
	if err != nil {
		return // it was killed in this moment
	}
	_, after, found := strings.Cut(string(status), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(after, &kib); !found || err != nil {
		return
	}
	role, _, _ := strings.Cut(p.name, "-")
	m.mu.Lock()
	defer m.mu.Unlock()
	m.samples = append(m.samples, sample{time.Now(), role, kib / 1024})
}

// quarters is the most that a process of each role kept resident, in MiB, in each quarter of a time.
func (m *memory) quarters(from, to time.Time) map[string][4]float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string][4]float64{}
	for _, s := range m.samples {
		if s.at.Before(from) || s.at.After(to) {
			continue
		}
		q := out[s.role]
		i := min(3, int(4*s.at.Sub(from)/to.Sub(from)))
		q[i] = max(q[i], s.mib)
		out[s.role] = q
	}
	return out
}
