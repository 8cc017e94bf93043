package queuetest

import (
	"context"
	"net"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// afterwards is a hook that replaces the result of commands sent one by one.
type afterwards func(cmd redis.Cmder, err error) error

// DialHook implements redis.Hook.
func (after afterwards) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (after afterwards) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { return after(cmd, next(ctx, cmd)) }
}

// ProcessPipelineHook implements redis.Hook.
func (after afterwards) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// meter is a hook that counts the bytes received.
type meter struct{ received atomic.Int64 }

// DialHook implements redis.Hook.
func (m *meter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return metered{conn, m}, nil
	}
}

// ProcessHook implements redis.Hook.
func (m *meter) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (m *meter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

type metered struct {
	net.Conn
	meter *meter
}

// Read implements net.Conn.
func (c metered) Read(into []byte) (int, error) {
	n, err := c.Conn.Read(into)
	c.meter.received.Add(int64(n))
	return n, err
}

// garbler is a hook that stores the specs of new tasks in a form that no version has.
type garbler struct{}

// DialHook implements redis.Hook.
func (garbler) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (garbler) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (garbler) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			for i, arg := range cmd.Args() {
				if text, ok := arg.(string); ok {
					cmd.Args()[i] = strings.Replace(text, `{"spec":{`, `{"spec":0,"other":{`, 1)
				}
			}
		}
		return next(ctx, cmds)
	}
}
