package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"dspyagent.io/orchestrator/internal/httpapi"
)

const (
	senders     = 3  // requests with tasks at once
	askers      = 16 // requests about one task at once
	scopesEach  = 8  // in a batch
	childrenOf  = 10 // each scope
	delayedEach = 4  // in a batch, to be cancelled
	maxPause    = time.Second
)

// expectation is how a task is to end.
type expectation byte

const (
	succeeds expectation = iota
	isCancelled
	either // it was cancelled while it may have run
)

// soak sends tasks, and knows how each is to end.
type soak struct {
	opt    options
	fleet  *fleet
	http   *http.Client
	report report
	wave   atomic.Int64
	far    time.Time // when tasks would begin that are to be cancelled

	mu       sync.Mutex
	expected map[[16]byte]expectation
	watched  []string             // some tasks that are read again and again
	ends     map[[16]byte]fingers // as they were read once
}

func newSoak(o options, f *fleet) *soak {
	return &soak{
		opt: o, fleet: f, far: time.Now().Add(48 * time.Hour).UTC().Truncate(time.Second),
		http:     &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: senders + askers}},
		expected: make(map[[16]byte]expectation, o.tasks), ends: map[[16]byte]fingers{},
	}
}

// work sends all tasks while processes die, and waits for their ends.
func (s *soak) work(ctx context.Context) error {
	killing, stopKilling := context.WithCancel(ctx)
	defer stopKilling()
	var others sync.WaitGroup
	faults := make(chan error, 1)
	if s.opt.every > 0 {
		others.Go(func() { faults <- s.killSome(killing) })
	}
	others.Go(func() { s.readSome(killing) })
	others.Go(func() { s.tell(killing) })
	group, sending := errgroup.WithContext(ctx)
	for range senders {
		group.Go(func() error {
			for {
				n := s.wave.Add(1)
				if int(n-1)*s.opt.batch >= s.opt.tasks {
					return nil
				}
				if err := s.send(sending, int(n)); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	for err == nil && ctx.Err() == nil {
		if stats, unread := s.fleet.queue.Stats(ctx); unread == nil && stats.Live == 0 {
			break
		}
		select {
		case err = <-faults:
		case <-time.After(100 * time.Millisecond):
		}
	}
	stopKilling()
	others.Wait()
	return errors.Join(err, ctx.Err())
}

// task is one task of a batch, with how it is to end.
type task struct {
	Noop        bool           `json:"noop,omitempty"`
	Scope       bool           `json:"scope,omitempty"`
	Key         string         `json:"idempotency_key"`
	Tenant      string         `json:"tenant"`
	Class       string         `json:"class"`
	Priority    int            `json:"priority,omitempty"`
	MaxAttempts int            `json:"max_attempts"`
	Parent      string         `json:"parent,omitempty"`
	NotBefore   *time.Time     `json:"not_before,omitempty"`
	Limit       *httpapi.Limit `json:"limit,omitempty"`
	want        expectation
}

// send sends a batch, the children of its scopes, and what is asked of some of its tasks.
func (s *soak) send(ctx context.Context, wave int) error {
	tenant := fmt.Sprint("tenant-", wave%4)
	tasks := make([]task, s.opt.batch-scopesEach*childrenOf)
	for i := range tasks {
		tasks[i] = s.task(fmt.Sprintf("%d-%d", wave, i), tenant)
		switch {
		case i < scopesEach:
			tasks[i].Noop, tasks[i].Scope, tasks[i].Limit = false, true, nil
		case i < scopesEach+delayedEach:
			tasks[i].NotBefore, tasks[i].want = &s.far, isCancelled
		}
	}
	tasks[0].want = isCancelled // a scope that is cancelled, not closed
	ids, err := s.submit(ctx, tasks)
	if err != nil {
		return err
	}
	children := make([]task, scopesEach*childrenOf)
	for i := range children {
		children[i] = s.task(fmt.Sprintf("%d-c%d", wave, i), tenant)
		children[i].Parent = ids[i%scopesEach]
		if i%scopesEach == 0 {
			children[i].want = either
		}
	}
	if _, err := s.submit(ctx, children); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(askers)
	for i, id := range ids[:scopesEach+delayedEach] {
		ask := "/cancel"
		if i > 0 && i < scopesEach {
			ask = "/close"
		}
		group.Go(func() error { return s.call(ctx, http.MethodPost, "/v1/tasks/"+id+ask, nil, http.StatusOK, nil) })
	}
	return group.Wait()
}

func (s *soak) task(key, tenant string) task {
	t := task{
		Noop: true, Key: key, Tenant: tenant, Class: []string{"Interactive", "Short", "Long"}[rand.N(3)],
		Priority: rand.N(5), MaxAttempts: 20,
	}
	if rand.N(20) == 0 {
		t.Limit = &httpapi.Limit{Key: fmt.Sprint("key-", rand.N(10)), Max: 4}
	}
	return t
}

// submit sends tasks until they are accepted.
func (s *soak) submit(ctx context.Context, tasks []task) ([]string, error) {
	body, err := json.Marshal(map[string]any{"tasks": tasks})
	if err != nil {
		return nil, err
	}
	var got httpapi.Accepted
	if err := s.call(ctx, http.MethodPost, "/v1/tasks", body, http.StatusAccepted, &got); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, text := range got.IDs {
		id, err := parseID(text)
		if err != nil {
			return nil, err
		}
		s.expected[id] = tasks[i].want
	}
	if len(s.watched) < 5000 {
		s.watched = append(s.watched, got.IDs[:min(20, len(got.IDs))]...)
	}
	return got.IDs, nil
}

// call sends a request to one orchestrator after the other until one does what it asks.
func (s *soak) call(ctx context.Context, method, path string, body []byte, want int, into any) error {
	for try := rand.N(len(s.fleet.orchestrators)); ; try++ {
		p := s.fleet.orchestrators[try%len(s.fleet.orchestrators)]
		status, reply, err := s.once(ctx, method, "http://"+p.addr+path, body)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil && status == want:
			if into == nil {
				return nil
			}
			return json.Unmarshal(reply, into)
		case err == nil && status == http.StatusTooManyRequests:
			s.report.refused.Add(1)
		case err == nil && status < 500:
			return fmt.Errorf("%s %s: %d %s", method, path, status, reply)
		default:
			s.report.unanswered.Add(1)
		}
		select {
		case <-time.After(rand.N(maxPause)):
		case <-ctx.Done():
		}
	}
}

func (s *soak) once(ctx context.Context, method, url string, body []byte) (status int, reply []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	reply, err = io.ReadAll(resp.Body)
	return resp.StatusCode, reply, errors.Join(err, resp.Body.Close())
}

// tell says how far it is.
func (s *soak) tell(ctx context.Context) {
	every := time.NewTicker(10 * time.Second)
	defer every.Stop()
	for began := time.Now(); !s.opt.quiet; {
		select {
		case <-every.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		sent := len(s.expected)
		s.mu.Unlock()
		stats, err := s.fleet.queue.Stats(ctx)
		fmt.Printf("%6.0f s: %d sent, %d there (%v), %d kills\n", time.Since(began).Seconds(), sent, stats.Live, err, s.report.kills.Load())
	}
}
