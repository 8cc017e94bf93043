package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// maxQueued is beyond the tasks sent at once: the bound is not what is measured.
const maxQueued = 200_000

// ours is a store, a runner and orchestrators, freshly started.
type ours struct {
	client
	dir                string
	store, runner      *process
	replicas           []*process
	addresses          []string // of the replicas
	storeAt, runnerAt  string
	tokenFile          string
	extra              []string // flags of the orchestrators
	passwordOfTheStore []string
}

// startOurs starts a chain with so many replicas, and waits until a first task has ended.
func startOurs(ctx context.Context, s settings, store string, replicas int, extra ...string) (*ours, error) {
	o := &ours{extra: extra}
	var err error
	if o.dir, err = os.MkdirTemp("", "orchestrator-bench-"); err != nil {
		return o, err
	}
	o.tokenFile = filepath.Join(o.dir, "token")
	if err := os.WriteFile(o.tokenFile, []byte(token), 0o600); err != nil {
		return o, err
	}
	if err := o.startStore(s, store); err != nil {
		return o, err
	}
	if err := o.startRunner(s); err != nil {
		return o, err
	}
	for range replicas {
		if err := o.startReplica(s); err != nil {
			return o, err
		}
	}
	return o, o.warm(ctx)
}

func (o *ours) startStore(s settings, store string) (err error) {
	if o.storeAt, err = freeAddress(); err != nil {
		return err
	}
	if store == "redis" {
		o.store, err = spawn(redisArgs(s.redis, o.storeAt, o.dir)...)
		return err
	}
	http, err := freeAddress()
	if err != nil {
		return err
	}
	o.passwordOfTheStore = []string{"--reddb-token-file", o.tokenFile}
	o.store, err = spawn(s.reddb, "serve", "--data-dir", filepath.Join(o.dir, "data"), "--token-file", o.tokenFile,
		"--resp-listen", o.storeAt, "--http-listen", http)
	return err
}

func (o *ours) startRunner(s settings) (err error) {
	if o.runnerAt, err = freeAddress(); err != nil {
		return err
	}
	workspace := filepath.Join(o.dir, "workspace")
	if err := os.Mkdir(workspace, 0o755); err != nil {
		return err
	}
	o.runner, err = spawn(s.runner, "serve", "--listen", o.runnerAt, "--token-file", o.tokenFile, "--max-concurrent", "64",
		"--workspace", workspace, "--forks-dir", filepath.Join(o.dir, "forks"))
	return err
}

func (o *ours) startReplica(s settings) error {
	address, err := freeAddress()
	if err != nil {
		return err
	}
	argv := []string{s.orchestrator, "serve", "--listen", address, "--reddb", "redis://" + o.storeAt,
		"--runners", "http://" + o.runnerAt, "--runner-token-file", o.tokenFile, "--token-file", o.tokenFile, "--pprof", s.pprof,
		"--log-level", "error", "--max-queued", strconv.Itoa(s.tasks + s.commands + maxQueued)}
	p, err := spawn(append(append(argv, o.passwordOfTheStore...), o.extra...)...)
	if err != nil {
		return err
	}
	o.replicas, o.addresses = append(o.replicas, p), append(o.addresses, address)
	return nil
}

func (o *ours) stop() error {
	for _, p := range append(o.replicas, o.runner, o.store) {
		if p != nil {
			p.kill()
		}
	}
	return os.RemoveAll(o.dir)
}

// ready waits for all replicas. A refused connection means that one is still starting.
func (o *ours) ready(ctx context.Context) error {
	return poll(ctx, "the replicas to be ready", func() (bool, error) {
		for _, address := range o.addresses {
			c := client{base: "http://" + address}
			if _, err := c.do(ctx, "GET", "/readyz", nil); err != nil {
				return false, nil
			}
		}
		return true, nil
	})
}

// warm waits for the whole chain: a first task has ended.
func (o *ours) warm(ctx context.Context) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	leader, err := o.leader(ctx)
	if err != nil {
		return err
	}
	o.base = "http://" + o.addresses[leader]
	_, _, err = o.burst(ctx, noop, 1)
	return err
}

// leader waits for one replica to lead, and returns which.
func (o *ours) leader(ctx context.Context) (leader int, err error) {
	err = poll(ctx, "a replica to lead", func() (bool, error) {
		for i, address := range o.addresses {
			c := client{base: "http://" + address}
			if n, err := c.metric(ctx, "dspy_orchestrator_leads "); err == nil && n == 1 {
				leader = i
				return true, nil
			}
		}
		return false, ctx.Err()
	})
	return leader, err
}

var (
	noop  = map[string]any{"noop": true}
	truth = map[string]any{"argv": []string{"/bin/true"}}
)

// oursRound measures the orchestrator on one store; commands are left out where they were measured on another.
func oursRound(store string, withCommands bool) func(context.Context, settings) (measurement, error) {
	return func(ctx context.Context, s settings) (m measurement, err error) {
		o, err := startOurs(ctx, s, store, 1)
		defer func() { err = errors.Join(err, o.stop()) }()
		if err != nil {
			return m, err
		}
		if s.does(throughput) {
			if err := o.measureNoops(ctx, s, &m); err != nil {
				return m, err
			}
		}
		if s.does(dispatch) {
			if err := o.measurePaced(ctx, s, &m); err != nil {
				return m, err
			}
		}
		if s.does(commands) && withCommands {
			all, failed, err := o.burst(ctx, truth, s.commands)
			if err != nil {
				return m, err
			}
			ends := since(all, sentAt, finishedAt)
			m.commandRate, m.commandP50, m.commandP99 = rate(all), ends.p50(), ends.p99()
			m.errors += failed
		}
		return m, nil
	}
}

func (o *ours) measureNoops(ctx context.Context, s settings, m *measurement) error {
	processes := []*process{o.replicas[0], o.store, o.runner}
	before := make([]time.Duration, len(processes))
	for i, p := range processes {
		before[i] = p.cpu()
	}
	all, failed, err := o.burst(ctx, noop, s.tasks)
	if err != nil {
		return err
	}
	m.noopRate, m.errors = rate(all), m.errors+failed
	for i, p := range processes {
		m.cpu[i] = perTask(p.cpu()-before[i], s.tasks)
	}
	return nil
}

func (o *ours) measurePaced(ctx context.Context, s settings, m *measurement) error {
	sent, err := o.pace(ctx, func() any { return noop }, float64(s.rate), s.paced)
	if err != nil {
		return err
	}
	all, failed, err := o.await(ctx, sent)
	if err != nil {
		return err
	}
	m.errors += failed
	m.pacedBy(all)
	return nil
}
