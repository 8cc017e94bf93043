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

// rival is a running asynq server with a handler that notes when each task ended.
type rival struct {
	client *asynq.Client

	mu    sync.Mutex
	times []times
	ended atomic.Int64
}

func asynqRound(ctx context.Context, s settings) (m measurement, err error) {
	dir, err := os.MkdirTemp("", "asynq-bench-")
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	address, err := freeAddress()
	if err != nil {
		return m, err
	}
	stop, err := spawn(redisArgs(s.redis, address, dir)...)
	if err != nil {
		return m, err
	}
	defer stop()
	if err := listening(ctx, address); err != nil {
		return m, err
	}
	r := &rival{client: asynq.NewClient(asynq.RedisClientOpt{Addr: address, PoolSize: asynqSenders})}
	defer func() { err = errors.Join(err, r.client.Close()) }()
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: address, PoolSize: asynqConcurrency}, asynq.Config{
		Concurrency: asynqConcurrency, LogLevel: asynq.ErrorLevel,
	})
	if err := server.Start(asynq.HandlerFunc(r.handle)); err != nil {
		return m, err
	}
	defer server.Shutdown()
	return r.measure(ctx, s)
}

func redisArgs(program, address, dir string) []string {
	_, port, _ := net.SplitHostPort(address) // of freeAddress, so it has one
	return []string{program, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "",
		"--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"}
}

func listening(ctx context.Context, address string) error {
	return poll(ctx, "redis to listen", func() (bool, error) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err != nil {
			return false, nil
		}
		return true, conn.Close()
	})
}

func (r *rival) measure(ctx context.Context, s settings) (m measurement, err error) {
	burst, err := r.run(ctx, s.tasks, asynqSenders, nil)
	if err != nil {
		return m, err
	}
	m.noopRate = rate(burst)
	tick := time.NewTicker(time.Second / time.Duration(s.rate))
	defer tick.Stop()
	paced, err := r.run(ctx, int(s.paced.Seconds()*float64(s.rate)), -1, tick.C)
	if err != nil {
		return m, err
	}
	m.pacedP50, m.pacedP99 = percentiles(paced)
	return m, nil
}

// run sends n tasks, each at a tick if there are ticks, and waits for their ends.
func (r *rival) run(ctx context.Context, n, atOnce int, ticks <-chan time.Time) ([]times, error) {
	r.mu.Lock()
	r.times = make([]times, n)
	r.mu.Unlock()
	r.ended.Store(0)
	var sending errgroup.Group
	sending.SetLimit(atOnce)
	for i := range n {
		if ticks != nil {
			<-ticks
		}
		sending.Go(func() error {
			r.mu.Lock()
			r.times[i].created = time.Now()
			r.mu.Unlock()
			_, err := r.client.EnqueueContext(ctx, asynq.NewTask(taskType, binary.BigEndian.AppendUint32(nil, uint32(i))))
			return err
		})
	}
	if err := sending.Wait(); err != nil {
		return nil, err
	}
	err := poll(ctx, "asynq's tasks to end", func() (bool, error) { return r.ended.Load() == int64(n), nil })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.times, err
}

func (r *rival) handle(_ context.Context, t *asynq.Task) error {
	r.mu.Lock()
	r.times[binary.BigEndian.Uint32(t.Payload())].finished = time.Now()
	r.mu.Unlock()
	r.ended.Add(1)
	return nil
}
