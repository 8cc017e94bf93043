package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
)

// sleeperCommand makes this program a worker of asynq's that can be killed: its tasks last.
const sleeperCommand = "asynq-worker"

// sleeper takes tasks from a Redis; each tells its number and the time to the address that it carries.
func sleeper(redis string) error {
	server := asynq.NewServer(asynq.RedisClientOpt{Addr: redis}, asynq.Config{Concurrency: longTasks, LogLevel: asynq.ErrorLevel})
	return server.Run(asynq.HandlerFunc(func(ctx context.Context, t *asynq.Task) error {
		at := time.Now()
		conn, err := net.Dial("tcp", string(t.Payload()[4:]))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(conn, "%d %d\n", binary.BigEndian.Uint32(t.Payload()), at.UnixNano())
		if err = errors.Join(err, conn.Close()); err != nil {
			return err
		}
		select {
		case <-time.After(time.Hour):
		case <-ctx.Done():
		}
		return nil
	}))
}

// begins gathers what sleepers tell.
type begins struct {
	mu sync.Mutex
	at map[int]time.Time // the latest begin, by task
}

func (b *begins) listen(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return // closed at the end
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		number, nanos, _ := strings.Cut(strings.TrimSpace(line), " ")
		i, err1 := strconv.Atoi(number)
		n, err2 := strconv.ParseInt(nanos, 10, 64)
		if errors.Join(err1, err2) == nil {
			b.mu.Lock()
			b.at[i] = time.Unix(0, n)
			b.mu.Unlock()
		}
	}
}

// after is how long after a moment tasks began, of those that did.
func (b *begins) after(t time.Time) sample {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out sample
	for _, at := range b.at {
		if at.After(t) {
			out = append(out, milliseconds(at.Sub(t)))
		}
	}
	return out
}

// asynqRound kills one of two workers that hold all tasks, and waits a bounded time for the other to begin them again.
func (r *recoveries) asynqRound(ctx context.Context, s settings) (err error) {
	redis, err := startRedis(ctx, s)
	defer func() { err = errors.Join(err, redis.stop()) }()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	b := &begins{at: map[int]time.Time{}}
	go b.listen(l)
	if err := enqueueLong(ctx, redis.address, l.Addr().String()); err != nil {
		return err
	}
	first, err := spawn(os.Args[0], sleeperCommand, redis.address)
	if err != nil {
		return err
	}
	if err := poll(ctx, "asynq's tasks to run", func() (bool, error) { return len(b.after(time.Time{})) == longTasks, nil }); err != nil {
		first.kill()
		return err
	}
	second, err := spawn(os.Args[0], sleeperCommand, redis.address)
	if err != nil {
		return err
	}
	defer second.kill()
	killed := time.Now()
	first.kill()
	r.kills = 1
	bounded, cancel := context.WithTimeout(ctx, s.asynqPatience)
	defer cancel()
	for tick := time.NewTicker(time.Second); bounded.Err() == nil && len(b.after(killed)) < longTasks; {
		select {
		case <-tick.C:
		case <-bounded.Done():
			tick.Stop()
		}
	}
	r.took = b.after(killed)
	r.missed = longTasks - len(r.took)
	return ctx.Err()
}

func enqueueLong(ctx context.Context, redis, report string) error {
	client := asynq.NewClient(asynq.RedisClientOpt{Addr: redis})
	for i := range longTasks {
		payload := append(binary.BigEndian.AppendUint32(nil, uint32(i)), report...)
		if _, err := client.EnqueueContext(ctx, asynq.NewTask(taskType, payload)); err != nil {
			return errors.Join(err, client.Close())
		}
	}
	return client.Close()
}
