package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	token     = "token-of-the-benchmark-0123456789"
	batchSize = 1000
	maxQueued = 100_000 // beyond the tasks sent at once: the bound is not what is measured
	senders   = 2
	patience  = 2 * time.Minute
)

// ours is a running orchestrator with its store and its runner.
type ours struct {
	base  string
	stops []func()
	dir   string
	sent  int
}

func orchestratorRound(ctx context.Context, s settings) (m measurement, err error) {
	o, err := startOurs(ctx, s)
	defer func() { err = errors.Join(err, o.stop()) }()
	if err != nil {
		return m, err
	}
	noops, failed, err := o.burst(ctx, map[string]any{"noop": true}, s.tasks)
	if err != nil {
		return m, err
	}
	m.noopRate, m.errors = rate(noops), failed
	paced, failed, err := o.paced(ctx, s.rate, s.paced)
	if err != nil {
		return m, err
	}
	m.pacedP50, m.pacedP99 = percentiles(paced)
	m.errors += failed
	commands, failed, err := o.burst(ctx, map[string]any{"argv": []string{"/bin/true"}}, s.commands)
	if err != nil {
		return m, err
	}
	m.commandRate, m.errors = rate(commands), m.errors+failed
	m.commandP50, m.commandP99 = percentiles(commands)
	return m, nil
}

func startOurs(ctx context.Context, s settings) (*ours, error) {
	o := &ours{}
	var err error
	if o.dir, err = os.MkdirTemp("", "orchestrator-bench-"); err != nil {
		return o, err
	}
	tokenFile := filepath.Join(o.dir, "token")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		return o, err
	}
	if err := os.Mkdir(filepath.Join(o.dir, "workspace"), 0o755); err != nil {
		return o, err
	}
	var at [4]string
	for i := range at {
		if at[i], err = freeAddress(); err != nil {
			return o, err
		}
	}
	store := []string{s.reddb, "serve", "--data-dir", filepath.Join(o.dir, "data"), "--token-file", tokenFile, "--resp-listen", at[0], "--http-listen", at[1]}
	password := []string{"--reddb-token-file", tokenFile}
	if s.store == "redis" {
		store, password = redisArgs(s.redis, at[0], o.dir), nil
	}
	runner := []string{s.runner, "serve", "--listen", at[2], "--token-file", tokenFile, "--max-concurrent", "64",
		"--workspace", filepath.Join(o.dir, "workspace"), "--forks-dir", filepath.Join(o.dir, "forks")}
	orchestrator := append([]string{s.orchestrator, "serve", "--listen", at[3], "--reddb", "redis://" + at[0],
		"--runners", "http://" + at[2], "--runner-token-file", tokenFile, "--token-file", tokenFile, "--pprof", s.pprof,
		"--max-queued", strconv.Itoa(s.tasks + s.commands + maxQueued)}, password...)
	for _, argv := range [][]string{store, runner, orchestrator} {
		stop, err := spawn(argv...)
		if err != nil {
			return o, err
		}
		o.stops = append(o.stops, stop)
	}
	o.base = "http://" + at[3]
	return o, o.warm(ctx)
}

func (o *ours) stop() error {
	for i := len(o.stops) - 1; i >= 0; i-- {
		o.stops[i]()
	}
	return os.RemoveAll(o.dir)
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// warm waits for the whole chain: a first task has ended.
func (o *ours) warm(ctx context.Context) error {
	return poll(ctx, "the orchestrator to run a first task", func() (bool, error) {
		_, _, err := o.burst(ctx, map[string]any{"noop": true}, 1)
		return err == nil, nil
	})
}

// burst sends n equal tasks in batches and returns their times when all have ended.
func (o *ours) burst(ctx context.Context, task any, n int) ([]times, int, error) {
	ids := make([]string, n)
	var sending errgroup.Group
	sending.SetLimit(senders)
	for from := 0; from < n; from += batchSize {
		sending.Go(func() error {
			batch := make([]any, min(batchSize, n-from))
			for i := range batch {
				batch[i] = task
			}
			var reply struct{ IDs []string }
			err := o.call(ctx, "POST", "/v1/tasks", map[string]any{"tasks": batch}, &reply)
			copy(ids[from:], reply.IDs)
			return err
		})
	}
	if err := sending.Wait(); err != nil {
		return nil, 0, err
	}
	return o.await(ctx, ids)
}

// paced sends no-ops one by one, at a fixed rate whatever the answers (open loop).
func (o *ours) paced(ctx context.Context, perSecond int, duration time.Duration) ([]times, int, error) {
	ids := make([]string, int(duration.Seconds()*float64(perSecond)))
	var sending errgroup.Group
	tick := time.NewTicker(time.Second / time.Duration(perSecond))
	defer tick.Stop()
	for i := range ids {
		<-tick.C
		sending.Go(func() error {
			var reply struct{ ID string }
			err := o.call(ctx, "POST", "/v1/tasks", map[string]any{"noop": true}, &reply)
			ids[i] = reply.ID
			return err
		})
	}
	if err := sending.Wait(); err != nil {
		return nil, 0, err
	}
	return o.await(ctx, ids)
}

type task struct {
	ID, State  string
	CreatedAt  time.Time `json:"created_at"`
	FinishedAt time.Time `json:"finished_at"`
}

// await polls the counters of ended tasks, which costs the orchestrator next to nothing, then reads the tasks.
func (o *ours) await(ctx context.Context, ids []string) ([]times, int, error) {
	o.sent += len(ids)
	err := poll(ctx, "all tasks to end", func() (bool, error) {
		n, err := o.finished(ctx)
		return n >= o.sent, err
	})
	if err != nil {
		return nil, 0, err
	}
	return o.read(ctx, ids)
}

// read pages through the listing for the times of the tasks.
func (o *ours) read(ctx context.Context, ids []string) ([]times, int, error) {
	wanted := make(map[string]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	all, failed := make([]times, 0, len(ids)), 0
	for cursor := ""; ; {
		var page struct {
			Tasks  []task
			Cursor string
		}
		if err := o.call(ctx, "GET", "/v1/tasks?limit=500&cursor="+cursor, nil, &page); err != nil {
			return nil, 0, err
		}
		for _, t := range page.Tasks {
			if !wanted[t.ID] {
				continue
			}
			if t.State != "Succeeded" {
				failed++
			}
			all = append(all, times{t.CreatedAt, t.FinishedAt})
		}
		if cursor = page.Cursor; cursor == "" || len(all) == len(ids) {
			break
		}
	}
	if len(all) != len(ids) {
		return nil, 0, fmt.Errorf("%d of %d tasks are listed", len(all), len(ids))
	}
	return all, failed, nil
}

// finished reads off /metrics how many tasks have ended since the start.
func (o *ours) finished(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, o.base+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return 0, err
	}
	total := 0.0
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "dspy_orchestrator_tasks_finished_total{") {
			continue
		}
		n, err := strconv.ParseFloat(strings.Fields(line)[1], 64)
		if err != nil {
			return 0, err
		}
		total += n
	}
	return int(total), nil
}

func (o *ours) call(ctx context.Context, method, path string, body, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, o.base+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, resp.StatusCode, strings.TrimSpace(string(text)))
	}
	return json.Unmarshal(text, into)
}

// poll asks until done; a refused connection means that a program is still starting.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("gave up waiting for %s", what))
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		ok, err := done()
		if ok || err != nil {
			tick.Stop()
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return context.Cause(ctx)
		}
	}
}
