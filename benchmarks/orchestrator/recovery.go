package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// longTasks run when a leader is killed; each says when it began, and lasts long enough to be interrupted.
const (
	longTasks   = 16
	longSeconds = 4
)

// recoveries is how long after a kill the interrupted tasks began again.
type recoveries struct {
	took   sample
	kills  int
	missed int // tasks that did not begin again
}

// round kills leaders with a second replica standing by.
func (r *recoveries) round(ctx context.Context, s settings) (err error) {
	s.pprof = "" // two replicas cannot share its address
	o, err := startOurs(ctx, s, "reddb", 2)
	defer func() { err = errors.Join(err, o.stop()) }()
	if err != nil {
		return err
	}
	for range s.kills {
		if err := r.kill(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// kill ends the leader while long tasks run, and notes when each began again, as the command itself says at the runner.
func (r *recoveries) kill(ctx context.Context, o *ours) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	leader, err := o.leader(ctx)
	if err != nil {
		return err
	}
	o.base = "http://" + o.addresses[1-leader] // the one that stays
	ids, err := o.sendLong(ctx)
	if err != nil {
		return err
	}
	err = poll(ctx, "the long tasks to run", func() (bool, error) {
		var page struct{ Tasks []task }
		err := o.call(ctx, "GET", "/v1/tasks?state=Running", nil, &page)
		return len(page.Tasks) == longTasks, err
	})
	if err != nil {
		return err
	}
	killed := time.Now()
	o.replicas[leader].kill()
	http.DefaultClient.CloseIdleConnections()
	for _, id := range ids {
		t, err := o.ended(ctx, id)
		if err != nil {
			return err
		}
		began, err := begin(t)
		if err != nil || t.Attempts < 2 || !began.After(killed) {
			r.missed++
			continue
		}
		r.took = append(r.took, milliseconds(began.Sub(killed)))
	}
	r.kills++
	return o.replicas[leader].start()
}

func (o *ours) sendLong(ctx context.Context) ([]string, error) {
	long := map[string]any{"argv": []string{"sh", "-c", fmt.Sprintf("date +%%s%%N; sleep %d", longSeconds)}}
	batch := make([]any, longTasks)
	for i := range batch {
		batch[i] = long
	}
	var reply struct{ IDs []string }
	err := o.call(ctx, "POST", "/v1/tasks", map[string]any{"tasks": batch}, &reply)
	return reply.IDs, err
}

// begin is when a long task's last attempt began.
func begin(t task) (time.Time, error) {
	if t.State != "Succeeded" || t.Result == nil {
		return time.Time{}, fmt.Errorf("the task ended as %s", t.State)
	}
	nanos, err := strconv.ParseInt(strings.TrimSpace(t.Result.Stdout), 10, 64)
	return time.Unix(0, nanos), err
}
