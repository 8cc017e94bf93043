package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"golang.org/x/sync/errgroup"
)

// One tenant sends a command every half second, another a hundred times as many: more than the places can carry, so that
// a queue builds up.
const (
	places    = 16
	smallRate = 2.0
	largeRate = 100 * smallRate
	// workSeconds is how long the small tenant's commands take, and the large one's on average: these are uneven, so
	// that places become free one by one. So many places carry 80 of them a second.
	workSeconds = 0.2
)

// shares is how long the small tenant's tasks took from being sent to their ends.
type shares struct {
	alone, beside sample
	backlog       sample // of the large tenant's tasks at the end
	errors        int
}

func (f *shares) round(ctx context.Context, s settings) (err error) {
	o, err := startOurs(ctx, s, "reddb", 1, "--workers", strconv.Itoa(places), "--limiter", "fixed")
	defer func() { err = errors.Join(err, o.stop()) }()
	if err != nil {
		return err
	}
	alone, err := o.pace(ctx, small, smallRate, 3*s.paced)
	if err != nil {
		return err
	}
	if err := f.gather(ctx, o, alone, &f.alone); err != nil {
		return err
	}
	var group errgroup.Group
	group.Go(func() error {
		_, err := o.pace(ctx, large, largeRate, 4*s.paced)
		return err
	})
	// The small tenant comes when the other has filled all places.
	err = poll(ctx, "all places to be taken", func() (bool, error) {
		n, err := o.metric(ctx, "dspy_orchestrator_ready_tasks{")
		return n > 2*places, err
	})
	if err != nil {
		return errors.Join(err, group.Wait())
	}
	beside, err := o.pace(ctx, small, smallRate, 3*s.paced)
	if err != nil {
		return errors.Join(err, group.Wait())
	}
	backlog, err := o.metric(ctx, "dspy_orchestrator_ready_tasks{")
	f.backlog = append(f.backlog, backlog)
	if err = errors.Join(err, group.Wait()); err != nil {
		return err
	}
	return f.gather(ctx, o, beside, &f.beside)
}

// gather waits for tasks one by one: others may be far from their ends.
func (f *shares) gather(ctx context.Context, o *ours, sent []sending, into *sample) error {
	for _, x := range sent {
		t, err := o.ended(ctx, x.id)
		if err != nil {
			return err
		}
		if t.State != "Succeeded" {
			f.errors++
		}
		*into = append(*into, milliseconds(t.FinishedAt.Sub(x.at)))
	}
	return nil
}

// ended waits for the end of one task.
func (c *client) ended(ctx context.Context, id string) (t task, err error) {
	err = poll(ctx, "task "+id+" to end", func() (bool, error) {
		err := c.call(ctx, "GET", "/v1/tasks/"+id, nil, &t)
		return !t.FinishedAt.IsZero(), err
	})
	return t, err
}

func small() any { return sleep("small", workSeconds) }

func large() any { return sleep("large", workSeconds*(0.5+rand.Float64())) }

func sleep(tenant string, seconds float64) any {
	return map[string]any{"tenant": tenant, "argv": []string{"sleep", fmt.Sprintf("%.3f", seconds)}}
}
