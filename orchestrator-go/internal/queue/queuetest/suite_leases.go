package queuetest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/queue"
)

func takeover(t *testing.T, open opener) {
	q, other := open(), open()
	submit(t, q, noop())
	first := readOne(t, q)
	if got, err := open(longLease).Reclaim(t.Context(), 10, nobody); err != nil || len(got) > 0 {
		t.Errorf("a fresh lease was taken over: %v, %v", got, err)
	}
	second := reclaim(t, other)
	if second.Entry != first.Entry || second.Attempt != 2 {
		t.Errorf("took over %+v", second)
	}
	if got, err := q.Reclaim(t.Context(), 10, func(string) bool { return true }); err != nil || len(got) > 0 {
		t.Errorf("a process took its own lease over: %v, %v", got, err)
	}
}

func renewed(t *testing.T, open opener) {
	q, other := open(), open(func(c *consumer) { c.Lease = 10 * lease })
	submit(t, q, noop(), noop())
	kept, left := readOne(t, q), readOne(t, q)
	var taken []queue.Lease
	Eventually(t, patience, "the other lease expires", func() bool {
		_, err := q.Renew(t.Context(), []queue.Progress{{Lease: kept, State: queue.Running}})
		check(t, err)
		taken, err = other.Reclaim(t.Context(), 10, nobody)
		check(t, err)
		return len(taken) > 0
	})
	if len(taken) != 1 || taken[0].Entry != left.Entry {
		t.Errorf("taken over: %+v", taken)
	}
}

func renewalShows(t *testing.T, open opener) {
	q, other := open(), open()
	submit(t, q, noop())
	lost := readOne(t, q)
	reclaim(t, other)
	submit(t, q, noop())
	ended := readOne(t, q)
	_, err := other.Cancel(t.Context(), ended.Task.ID)
	check(t, err)
	got, err := q.Renew(t.Context(), []queue.Progress{{Lease: lost}, {Lease: ended}})
	check(t, err)
	if !slices.Equal(got.Lost, []string{lost.Entry}) || !slices.Equal(got.Ended, []string{ended.Entry}) {
		t.Errorf("renewal shows %+v", got)
	}
}

func retry(t *testing.T, open opener) {
	q, other := open(), open()
	submit(t, q, noop())
	l := readOne(t, q)
	l, err := q.Retry(t.Context(), l)
	if err != nil || l.Attempt != 2 {
		t.Fatalf("second attempt: %+v, %v", l, err)
	}
	if taken := reclaim(t, other); taken.Attempt != 3 {
		t.Errorf("attempt %d after a retry and a takeover, want 3", taken.Attempt)
	}
	if _, err := q.Retry(t.Context(), l); !errors.Is(err, queue.ErrLeaseLost) {
		t.Errorf("a retry without the lease: %v", err)
	}
}

func release(t *testing.T, open opener) {
	q, other := open(), open()
	submit(t, q, noop())
	l := readOne(t, q)
	check(t, q.Release(t.Context(), []queue.Lease{l}))
	got, err := other.Reclaim(t.Context(), 10, nobody)
	if err != nil || len(got) != 1 || got[0].Attempt != 1 {
		t.Errorf("after a release: %+v, %v", got, err)
	}
}

func releaseLost(t *testing.T, open opener) {
	q, other := open(longLease), open()
	submit(t, q, noop())
	lost := readOne(t, q)
	taken := reclaim(t, other)
	check(t, q.Release(t.Context(), []queue.Lease{lost}))
	if got, err := open(longLease).Reclaim(t.Context(), 10, nobody); err != nil || len(got) > 0 {
		t.Errorf("a lease of somebody else was released: %+v, %v", got, err)
	}
	if got, err := other.Renew(t.Context(), []queue.Progress{{Lease: taken}}); err != nil || len(got.Lost) > 0 {
		t.Errorf("the holder lost its lease: %+v, %v", got, err)
	}
}

// stopAfterDelivery ends the reader's context in the moment when the store has delivered.
func stopAfterDelivery(t *testing.T, open opener) {
	ctx, stop := context.WithCancel(t.Context())
	q := open(longLease, func(c *consumer) {
		c.hooks = append(c.hooks, afterwards(func(cmd redis.Cmder, err error) error {
			if cmd.Name() == "xreadgroup" {
				stop()
			}
			return err
		}))
	})
	ids := submit(t, q, noop())
	leases, err := q.Read(ctx, 10, lease)
	if err != nil || len(leases) != 1 || leases[0].Task.ID != ids[0] || ctx.Err() == nil {
		t.Errorf("read %+v, %v", leases, err)
	}
}

func unreadable(t *testing.T, open opener) {
	broken := errors.New("the connection broke")
	failing := func(c *consumer) {
		c.hooks = append(c.hooks, afterwards(func(cmd redis.Cmder, err error) error {
			if cmd.Name() == "mget" {
				cmd.SetErr(broken)
				return broken
			}
			return err
		}))
	}
	q, other := open(longLease), open(longLease, failing)
	submit(t, q, noop())
	if leases, err := other.Read(t.Context(), 10, lease); !errors.Is(err, broken) || len(leases) > 0 {
		t.Errorf("read %+v, %v", leases, err)
	}
	// Taking it over fails in the same way.
	if leases, err := other.Reclaim(t.Context(), 10, nobody); !errors.Is(err, broken) || len(leases) > 0 {
		t.Errorf("took over %+v, %v", leases, err)
	}
	if leases, err := q.Reclaim(t.Context(), 10, nobody); err != nil || len(leases) != 1 || leases[0].Attempt != 1 {
		t.Errorf("handed back: %+v, %v", leases, err)
	}
}
