package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	token     = "token-of-the-benchmark-0123456789"
	batchSize = 1000
	senders   = 2
)

// client speaks to one orchestrator.
type client struct {
	base string
	sent int // tasks whose ends finished counts
}

// task is what is read of a task.
type task struct {
	ID, State  string
	Attempts   int
	CreatedAt  time.Time `json:"created_at"`
	StartedAt  time.Time `json:"started_at"`
	FinishedAt time.Time `json:"finished_at"`
	Result     *struct{ Stdout string }
}

// burst sends n equal tasks in batches and returns their times when all have ended.
func (c *client) burst(ctx context.Context, one any, n int) ([]times, int, error) {
	all := make([]sending, n)
	var group errgroup.Group
	group.SetLimit(senders)
	for from := 0; from < n; from += batchSize {
		group.Go(func() error {
			batch := make([]any, min(batchSize, n-from))
			for i := range batch {
				batch[i] = one
			}
			var reply struct{ IDs []string }
			at := time.Now()
			err := c.call(ctx, "POST", "/v1/tasks", map[string]any{"tasks": batch}, &reply)
			for i, id := range reply.IDs {
				all[from+i] = sending{id, at, time.Now()}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, 0, err
	}
	return c.await(ctx, all)
}

// sending is a task on its way: when it was sent, and when the answer came.
type sending struct {
	id       string
	at, done time.Time
}

// pace sends tasks one by one, at a fixed rate whatever the answers (open loop), and returns once all are answered.
func (c *client) pace(ctx context.Context, one func() any, perSecond float64, duration time.Duration) ([]sending, error) {
	all := make([]sending, int(duration.Seconds()*perSecond))
	var group errgroup.Group
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for i := range all {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), group.Wait())
		}
		group.Go(func() error {
			var reply struct{ ID string }
			at := time.Now()
			err := c.call(ctx, "POST", "/v1/tasks", one(), &reply)
			all[i] = sending{reply.ID, at, time.Now()}
			return err
		})
	}
	return all, group.Wait()
}

// await polls the counters of ended tasks, which costs the orchestrator next to nothing, then reads the tasks.
func (c *client) await(ctx context.Context, all []sending) ([]times, int, error) {
	c.sent += len(all)
	err := poll(ctx, "all tasks to end", func() (bool, error) {
		n, err := c.metric(ctx, "dspy_orchestrator_tasks_finished_total{")
		return int(n) >= c.sent, err
	})
	if err != nil {
		return nil, 0, err
	}
	return c.read(ctx, all)
}

// read pages through the listing for the times of the tasks; of those that did not succeed, it returns the number.
func (c *client) read(ctx context.Context, all []sending) (found []times, failed int, err error) {
	wanted := make(map[string]sending, len(all))
	for _, s := range all {
		wanted[s.id] = s
	}
	for cursor := ""; ; {
		var page struct {
			Tasks  []task
			Cursor string
		}
		if err := c.call(ctx, "GET", "/v1/tasks?limit=500&cursor="+cursor, nil, &page); err != nil {
			return nil, 0, err
		}
		for _, t := range page.Tasks {
			s, ours := wanted[t.ID]
			if !ours {
				continue
			}
			if t.State != "Succeeded" {
				failed++
			}
			found = append(found, times{s.at, s.done, t.StartedAt, t.FinishedAt})
		}
		if cursor = page.Cursor; cursor == "" || len(found) == len(all) {
			break
		}
	}
	if len(found) != len(all) {
		return nil, 0, fmt.Errorf("%d of %d tasks are listed", len(found), len(all))
	}
	return found, failed, nil
}

// metric sums up the values of the lines of /metrics with a prefix.
func (c *client) metric(ctx context.Context, prefix string) (total float64, err error) {
	text, err := c.do(ctx, "GET", "/metrics", nil)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		n, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return total, nil
}

func (c *client) call(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	text, err := c.do(ctx, method, path, data)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

func (c *client) do(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		return nil, fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	return text, nil
}
