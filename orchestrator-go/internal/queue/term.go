package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Term is a leader's time in office. Only the process whose term it is writes what becomes of tasks: each of its
// transactions watches the count of leaders (Redis' WATCH), so one that was replaced unawares changes nothing.
type Term struct {
	Epoch  int64     // grows with each leader
	Before time.Time // when the leader before was last known to lead; zero when nobody knows
}

// Token is the fencing token of an attempt: it grows with every attempt of every leader.
func (t Term) Token(attempt int) int64 { return t.Epoch<<16 | int64(min(attempt, 1<<16-1)) }

// leadTries is how often a lease is asked for that changed under the asking, as it does when it runs out.
const leadTries = 3

// Lead takes the lease, or extends it where it is ours: a zero term asks for a new one. It is to be called some
// times within the lease's duration. A term outlasts a lease that ran out as long as nobody else has led since.
// Errors: ErrFenced when another process leads, or has led.
func (q *Redis) Lead(ctx context.Context, term Term) (Term, error) {
	var led Term
	var err error
	for range leadTries {
		err = q.fenced(ctx, []string{q.epochKey(), q.leaderKey()}, []string{q.ledKey()}, func(f fence) error {
			if f.leader != "" && f.leader != q.name || term.Epoch != 0 && f.epoch != term.Epoch {
				return ErrFenced
			}
			// Of this try alone: another may have taken the number meanwhile, and be gone again.
			led = term
			if led.Epoch == 0 {
				led.Epoch, led.Before = f.epoch+1, millis(f.read[0])
			}
			return f.exec(func(p redis.Pipeliner) error {
				p.Set(ctx, q.leaderKey(), q.name, q.opt.Lease)
				p.Set(ctx, q.ledKey(), time.Now().UnixMilli(), 0)
				if led.Epoch != f.epoch {
					p.Set(ctx, q.epochKey(), led.Epoch, 0)
				}
				return nil
			})
		})
		if !errors.Is(err, redis.TxFailedErr) {
			break
		}
	}
	if err != nil {
		return Term{}, fmt.Errorf("leading: %w", raced(err))
	}
	return led, nil
}

// Resign gives the lease up at once, so that nobody has to wait for its end. Of the entries in unbegun, only as many
// attempts stay counted as they say: one that was broken off because the leader stops was none.
func (q *Redis) Resign(ctx context.Context, term Term, unbegun []Entry) error {
	err := q.within(ctx, term, nil, func(f fence) error {
		return f.exec(func(p redis.Pipeliner) error {
			q.setBegun(ctx, p, unbegun)
			p.Set(ctx, q.ledKey(), time.Now().UnixMilli(), 0)
			p.Del(ctx, q.leaderKey())
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("resigning: %w", err)
	}
	return nil
}

// Leader names the process that leads; empty while there is none.
func (q *Redis) Leader(ctx context.Context) (string, error) {
	name, err := q.db.Get(ctx, q.leaderKey()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("asking who leads: %w", err)
	}
	return name, nil
}

// Name is this process's, among those that may lead.
func (q *Redis) Name() string { return q.name }

// millis reads a time; the zero time when there is none, or none that we wrote.
func millis(value any) time.Time {
	text, _ := value.(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(n)
}

// raced is the error of a transaction that a watched key kept from happening.
func raced(err error) error {
	if errors.Is(err, redis.TxFailedErr) {
		return ErrFenced
	}
	return err
}
