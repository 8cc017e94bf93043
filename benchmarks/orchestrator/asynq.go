package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sync/errgroup"
)

const (
	taskType = "noop"
	// asynqSenders enqueue at once: asynq has no batches, and one by one would measure round trips.
	asynqSenders     = 64
	asynqConcurrency = 128 // as the orchestrator's --workers
)

// rival is a running asynq server with a handler that notes when each task began and ended.
type rival struct {
	client *asynq.Client

	mu    sync.Mutex
	times []times
	ended atomic.Int64
}

// asynqRound measures asynq, which looks for tasks at an interval while it has none to do; 0 is its own default.
func asynqRound(look time.Duration) func(context.Context, settings) (measurement, error) {
	return func(ctx context.Context, s settings) (m measurement, err error) {
		redis, err := startRedis(ctx, s)
		defer func() { err = errors.Join(err, redis.stop()) }()
		if err != nil {
			return m, err
		}
		r := &rival{client: asynq.NewClient(asynq.RedisClientOpt{Addr: redis.address, PoolSize: asynqSenders})}
		defer func() { err = errors.Join(err, r.client.Close()) }()
		server := asynq.NewServer(asynq.RedisClientOpt{Addr: redis.address, PoolSize: asynqConcurrency}, asynq.Config{
			Concurrency: asynqConcurrency, LogLevel: asynq.ErrorLevel, TaskCheckInterval: look,
		})
		if err := server.Start(asynq.HandlerFunc(r.handle)); err != nil {
			return m, err
		}
		defer server.Shutdown()
		return r.measure(ctx, s, redis.process)
	}
}

// redisServer is one that dies with the benchmark.
type redisServer struct {
	address, dir string
	process      *process
}

func startRedis(ctx context.Context, s settings) (r redisServer, err error) {
	if r.dir, err = os.MkdirTemp("", "asynq-bench-"); err != nil {
		return r, err
	}
	if r.address, err = freeAddress(); err != nil {
		return r, err
	}
	if r.process, err = spawn(redisArgs(s.redis, r.address, r.dir)...); err != nil {
		return r, err
	}
	return r, poll(ctx, "redis to listen", func() (bool, error) {
		conn, err := net.DialTimeout("tcp", r.address, time.Second)
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
}

func (r redisServer) stop() error {
	if r.process != nil {
		r.process.kill()
	}
	return os.RemoveAll(r.dir)
}

func redisArgs(program, address, dir string) []string {
	_, port, _ := net.SplitHostPort(address) // of freeAddress, so it has one
	return []string{program, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"}
}

func (r *rival) measure(ctx context.Context, s settings, redis *process) (m measurement, err error) {
	if s.does(throughput) {
		self, store := cpuOf(os.Getpid()), redis.cpu()
		all, err := r.run(ctx, s.tasks, asynqSenders, nil)
		if err != nil {
			return m, err
		}
		m.noopRate = rate(all)
		m.cpu = [3]float64{perTask(cpuOf(os.Getpid())-self, s.tasks), perTask(redis.cpu()-store, s.tasks)}
	}
	if s.does(dispatch) {
		tick := time.NewTicker(time.Second / time.Duration(s.rate))
		defer tick.Stop()
		all, err := r.run(ctx, int(s.paced.Seconds()*float64(s.rate)), -1, tick.C)
		if err != nil {
			return m, err
		}
		m.pacedBy(all)
	}
	return m, nil
}

// run sends n tasks, each at a tick if there are ticks, and waits for their ends.
func (r *rival) run(ctx context.Context, n, atOnce int, ticks <-chan time.Time) ([]times, error) {
	r.mu.Lock()
	r.times = make([]times, n)
	r.mu.Unlock()
	r.ended.Store(0)
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range n {
		if ticks != nil {
			<-ticks
		}
		group.Go(func() error {
			r.note(i, sentAt)
			_, err := r.client.EnqueueContext(ctx, asynq.NewTask(taskType, binary.BigEndian.AppendUint32(nil, uint32(i))))
			r.note(i, acknowledgedAt)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	err := poll(ctx, "asynq's tasks to end", func() (bool, error) { return r.ended.Load() == int64(n), nil })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times, err
}

func (r *rival) note(i, moment int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.times[i][moment] = time.Now()
}

func (r *rival) handle(_ context.Context, t *asynq.Task) error {
	i := int(binary.BigEndian.Uint32(t.Payload()))
	r.note(i, startedAt)
	r.note(i, finishedAt)
	r.ended.Add(1)
	return nil
}
