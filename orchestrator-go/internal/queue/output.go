package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// inlineBytes is how much output stays with its outcome, which saves a key for most tasks.
	inlineBytes = 2 << 10

	// outputGrace is how much longer an output is kept than the outcome that names it.
	outputGrace = time.Minute

	// outputLease is how long an output is kept that no outcome names yet. It is longer than any task may take.
	outputLease = 31 * 24 * time.Hour
)

// ended is an outcome as it is stored.
type ended struct {
	Outcome
	Output string `json:"output,omitempty"` // of a result kept apart: its place is out/<id>/<output>
}

// standing is a Standing as it is stored.
type standing struct {
	Standing
	End *ended `json:"end,omitempty"` // of Own
}

// apart is an outcome with a large result replaced by the name of its place.
func apart(out Outcome) ended {
	name := out.output
	if r := out.Result; name == "" && r.Size() > inlineBytes {
		name = r.name()
	}
	if name != "" {
		out.Result = nil
	}
	return ended{out, name}
}

// name is made of a result's content, so that storing it again is storing the same.
func (r *Result) name() string {
	sum := sha256.New()
	for _, text := range []string{r.Stdout, "\x00", r.Stderr} {
		sum.Write([]byte(text)) // a hash takes everything
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// whole is an outcome as it was stored: its result may still be apart.
func (e ended) whole() Outcome {
	out := e.Outcome
	out.output = e.Output
	return out
}

func (s standing) public() *Standing {
	out := s.Standing
	if s.End != nil {
		own := s.End.whole()
		out.Own = &own
	}
	return &out
}

// putOutputs stores large results ahead of what names them, some of them at a time.
func (q *Redis) putOutputs(ctx context.Context, writes []write) error {
	pipe, queued := q.db.Pipeline(), 0
	for _, w := range writes {
		if w.result == nil {
			continue
		}
		value, err := encode(w.result)
		if err != nil {
			return err
		}
		keep := outputLease
		if w.Outcome != nil {
			keep = q.ttl(w.Outcome.State) + outputGrace
		}
		pipe.Set(ctx, q.outputKey(w.Task, w.output), value, keep)
		if queued += len(value); queued < chunkBytes {
			continue
		}
		if err := send(ctx, pipe); err != nil {
			return err
		}
		queued = 0
	}
	return send(ctx, pipe)
}

func send(ctx context.Context, pipe redis.Pipeliner) error {
	if pipe.Len() == 0 {
		return nil
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("storing results: %w", err)
	}
	return nil
}
