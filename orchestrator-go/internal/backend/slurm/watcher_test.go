package slurm

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// slow is a Slurm of which each poll takes a while.
type slow struct {
	control
	takes time.Duration
	polls int
}

func (s *slow) status(context.Context, []int64) (map[int64][]job, error) {
	s.polls++
	time.Sleep(s.takes)
	return map[int64][]job{17: {{id: 17, state: running}}}, nil
}

// The pause came after each poll, so that an end was seen later the slower Slurm was.
func TestPollsBeginAtTheirTimesAndTakeHalfOfItAtMost(t *testing.T) {
	for takes, want := range map[time.Duration]int{10 * time.Millisecond: 60, 40 * time.Millisecond: 60, 100 * time.Millisecond: 30} {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{takes: takes}
			w := newWatcher(s, 100*time.Millisecond, newMetrics(nil), slog.New(slog.DiscardHandler))
			looks, forget := w.watch(17, func() bool { return false })
			begun := time.Now()
			for time.Since(begun) < 6*time.Second {
				<-looks
			}
			forget()
			w.close()
			if s.polls < want-1 || s.polls > want+2 {
				t.Errorf("%d polls of %v in 6 s, want %d", s.polls, takes, want)
			}
		})
	}
}
