package main

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"
)

const (
	freeze     = 3 * time.Second // how long a leader is stopped: longer than its lease
	lookEvery  = 2 * time.Millisecond
	lookAtMost = 30 * time.Second
)

// change is a change of leaders that the soak forced.
type change struct {
	what  string
	at    time.Time
	took  time.Duration // until the store named another
	epoch int64         // of the one that went
}

// killSome kills or stops a random process every now and then, until ctx ends. All run at its end.
func (s *soak) killSome(ctx context.Context) error {
	random := rand.New(rand.NewPCG(uint64(s.opt.seed), 0))
	for {
		wait := s.opt.every/2 + time.Duration(random.Int64N(int64(s.opt.every)))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		down := time.Duration(random.Int64N(int64(s.opt.every) / 4))
		var err error
		switch n := random.IntN(100); {
		case n < 35:
			err = s.killLeader(ctx, down)
		case n < 45:
			err = s.stopLeader(ctx)
		case n < 60:
			err = s.restart("a follower", s.follower(ctx), down)
		case n < 80:
			err = s.restart("reddb", s.fleet.store, 0)
		default:
			err = s.restart("a runner", s.fleet.runners[random.IntN(len(s.fleet.runners))], down)
		}
		if err != nil {
			return err
		}
	}
}

func (s *soak) restart(what string, p *process, down time.Duration) error {
	if p == nil {
		return nil
	}
	s.report.kill(what)
	p.kill()
	time.Sleep(down)
	if err := p.start(); err != nil {
		return err
	}
	begun := time.Now()
	err := p.await()
	if p == s.fleet.store {
		s.report.recovered(time.Since(begun))
	}
	return err
}

// killLeader kills the leader, and sees how long it takes until another leads.
func (s *soak) killLeader(ctx context.Context, down time.Duration) error {
	p, name, epoch := s.leader(ctx)
	if p == nil {
		return nil
	}
	c := change{what: "killed", at: time.Now(), epoch: epoch}
	p.kill()
	s.report.kill("the leader")
	c.took = s.awaitOther(ctx, name)
	s.report.changed(c)
	time.Sleep(down)
	if err := p.start(); err != nil {
		return err
	}
	return p.await()
}

// stopLeader stops the leader for longer than its lease; it then goes on as if nothing had happened.
func (s *soak) stopLeader(ctx context.Context) error {
	p, name, epoch := s.leader(ctx)
	if p == nil {
		return nil
	}
	c := change{what: "stopped", at: time.Now(), epoch: epoch}
	p.signal(syscall.SIGSTOP)
	s.report.kill("the leader (stopped)")
	c.took = s.awaitOther(ctx, name)
	s.report.changed(c)
	time.Sleep(max(0, freeze-c.took))
	p.signal(syscall.SIGCONT)
	return p.await()
}

// awaitOther waits until another than name leads, and says how long that took.
func (s *soak) awaitOther(ctx context.Context, name string) time.Duration {
	begun := time.Now()
	for ctx.Err() == nil && time.Since(begun) < lookAtMost {
		if now, err := s.fleet.queue.Leader(ctx); err == nil && now != "" && now != name {
			break
		}
		time.Sleep(lookEvery)
	}
	return time.Since(begun)
}

// leader is the process that leads, as the store names it, and its epoch; nil when none does for sure.
func (s *soak) leader(ctx context.Context) (p *process, name string, epoch int64) {
	bounded, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, candidate := range s.fleet.orchestrators {
		_, text, err := s.once(bounded, "GET", "http://"+candidate.addr+"/metrics", nil)
		if err == nil && strings.Contains(string(text), "\ndspy_orchestrator_leads 1\n") {
			if p != nil {
				return nil, "", 0 // two think so: one is about to learn better
			}
			p = candidate
		}
	}
	name, err := s.fleet.queue.Leader(bounded)
	if err != nil || name == "" {
		return nil, "", 0
	}
	if epoch, err = s.fleet.db.Get(bounded, "orchestrator/epoch").Int64(); err != nil {
		return nil, "", 0
	}
	return p, name, epoch
}

// follower is a process that does not lead; nil when that is not sure.
func (s *soak) follower(ctx context.Context) *process {
	leader, _, _ := s.leader(ctx)
	if leader == nil {
		return nil
	}
	for _, p := range s.fleet.orchestrators {
		if p != leader {
			return p
		}
	}
	return nil
}
