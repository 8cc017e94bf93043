package runner

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

const tree = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// tell sets what the runner at a URL answers to a check.
func tell(p *Pool, url string, i info) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if e.url == url {
			e.passed(time.Now(), i)
		}
	}
}

func TestLessPressedRunnersArePreferred(t *testing.T) {
	for name, c := range map[string]struct {
		a, b info
		want map[string]int // of six places
	}{
		"alike":            {info{}, info{}, map[string]int{"http://a:1": 3, "http://b:1": 3}},
		"half the speed":   {info{Pressure: 0.5}, info{}, map[string]int{"http://a:1": 2, "http://b:1": 4}},
		"saturated":        {info{Pressure: 1}, info{}, map[string]int{"http://b:1": 6}},
		"more than full":   {info{Pressure: 7}, info{}, map[string]int{"http://b:1": 6}},
		"others' work":     {info{Running: 1, Waiting: 1}, info{}, map[string]int{"http://a:1": 2, "http://b:1": 4}},
		"a runner's limit": {info{MaxConcurrent: 1}, info{}, map[string]int{"http://a:1": 1, "http://b:1": 5}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := on(t, "http://a:1", "http://b:1")
				tell(p, "http://a:1", c.a)
				tell(p, "http://b:1", c.b)
				got := map[string]int{}
				for range 6 {
					got[take(t, p, "t").endpoint.url]++
				}
				if got["http://a:1"] != c.want["http://a:1"] || got["http://b:1"] != c.want["http://b:1"] {
					t.Errorf("got %v, want %v", got, c.want)
				}
			})
		})
	}
}

func TestPressureAndCapacityAreOfTheHealthyRunners(t *testing.T) {
	p := on(t, "http://a:1", "http://b:1", "http://c:1")
	tell(p, "http://a:1", info{MaxConcurrent: 6, Pressure: 0.5})
	tell(p, "http://b:1", info{MaxConcurrent: 2, Pressure: 0.1})
	tell(p, "http://c:1", info{MaxConcurrent: 9, Pressure: 0.9})
	p.endpoints[2].healthy = false
	if got, want := p.Pressure(), (6*0.5+2*0.1)/8; got != want || p.Capacity() != 8 {
		t.Errorf("pressure %v, want %v; capacity %d, want 8", got, want, p.Capacity())
	}
	if none := on(t); none.Pressure() != 0 || none.Capacity() != 0 {
		t.Error("no runner presses")
	}
}

// held is a pool of a holder of the workspace and a runner without it, which is less loaded.
func held(t *testing.T, holderTakes int) *Pool {
	t.Helper()
	p := on(t, "http://holder:1", "http://other:1")
	tell(p, "http://holder:1", info{MaxConcurrent: holderTakes, Running: 1, Workspaces: []string{tree}, WorkspacesHeld: 1})
	return p
}

func TestATaskGoesToTheRunnerThatHoldsItsWorkspace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := held(t, 4)
		for range 4 {
			if pl, err := p.acquire(t.Context(), want{workspace: tree}); err != nil || pl.endpoint.url != "http://holder:1" {
				t.Errorf("got %v, %v", pl, err)
			}
		}
	})
}

// TestTasksThatBeginAtOnceShareACopy has none of them begun to send the workspace yet.
func TestTasksThatBeginAtOnceShareACopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, "http://a:1", "http://b:1")
		var places []*place
		for range 3 {
			pl, err := p.acquire(t.Context(), want{workspace: tree})
			if err != nil || pl.endpoint != p.endpoints[0] {
				t.Fatalf("got %v, %v", pl, err)
			}
			places = append(places, pl)
		}
		for _, pl := range places {
			p.release(t.Context(), pl, queue.Task{}, errors.New("the copy failed"))
		}
		if p.endpoints[0].holds(tree) {
			t.Error("a workspace that never came is taken to be there")
		}
	})
}

func TestATaskWaitsForABusyHolderAsLongAsACopyTakes(t *testing.T) {
	for name, took := range map[string]time.Duration{"unknown": 0, "known": 7 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := held(t, 1)
				if took != 0 {
					p.copied.Add(tree, took)
				}
				if pl := take(t, p, "busy"); pl.endpoint.url != "http://other:1" {
					t.Fatal("the holder was not the more loaded one")
				}
				if _, err := p.acquire(t.Context(), want{workspace: tree}); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				pl, err := p.acquire(t.Context(), want{workspace: tree})
				if err != nil || pl.endpoint.url != "http://other:1" {
					t.Fatalf("got %v, %v", pl, err)
				}
				if waited := time.Since(began); waited != p.patience(tree) || (took != 0 && waited != took) {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

func TestAHolderThatGetsFreeIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := held(t, 1)
		running, err := p.acquire(t.Context(), want{workspace: tree})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(usualCopy/2, func() { p.release(t.Context(), running, queue.Task{}, nil) })
		if pl, err := p.acquire(t.Context(), want{workspace: tree}); err != nil || pl.endpoint.url != "http://holder:1" {
			t.Errorf("got %v, %v", pl, err)
		}
	})
}

func TestWhoWaitsForAHolderHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := held(t, 1)
		if _, err := p.acquire(t.Context(), want{workspace: tree}); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = p.acquire(t.Context(), want{workspace: tree}) }() // gets its place in the end
		synctest.Wait()
		if pl := take(t, p, "without a workspace"); pl == nil || pl.endpoint.url != "http://other:1" {
			t.Errorf("got %v", pl)
		}
		synctest.Wait()
	})
}

func TestAHolderThatFailedTheTaskIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := held(t, 4)
		p.faulted.Add("t", "http://holder:1")
		w := p.want(queue.Task{ID: "t", Spec: queue.Spec{Workspace: tree}})
		began := time.Now()
		if pl, err := p.acquire(t.Context(), w); err != nil || pl.endpoint.url != "http://other:1" || time.Since(began) != 0 {
			t.Errorf("got %v, %v after %v", pl, err, time.Since(began))
		}
	})
}

func TestARunnerWithoutRoomForAWorkspaceTakesOtherTasks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, only)
		pl := take(t, p, "t")
		p.release(t.Context(), pl, queue.Task{ID: "t"}, &errLater{crowded: true})
		if take(t, p, "without a workspace") == nil {
			t.Error("a task without a workspace had to wait")
		}
		began := time.Now()
		pl, err := p.acquire(t.Context(), want{workspace: tree})
		if err != nil || time.Since(began) != crowdedPause {
			t.Errorf("got %v after %v", err, time.Since(began))
		}
		running := take(t, p, "t")
		p.release(t.Context(), pl, queue.Task{ID: "t"}, &errLater{crowded: true})
		began = time.Now()
		time.AfterFunc(time.Second, func() { p.release(t.Context(), running, queue.Task{ID: "t"}, nil) })
		if _, err := p.acquire(t.Context(), want{workspace: tree}); err != nil || time.Since(began) != time.Second {
			t.Errorf("after the end of another task: got %v after %v", err, time.Since(began))
		}
	})
}

func TestWhatARunnerHoldsIsWhatItSays(t *testing.T) {
	sent := time.Now()
	e := newEndpoint(only, true, newBreaker(time.Second))
	e.held[tree] = sent.Add(time.Second)
	e.passed(sent, info{Workspaces: []string{}})
	if !e.holds(tree) {
		t.Error("a check sent before the copy ended made it unknown")
	}
	e.passed(sent.Add(2*time.Second), info{Workspaces: []string{"other"}, WorkspacesHeld: 2})
	if !e.holds(tree) || !e.holds("other") {
		t.Error("a shortened list made a workspace unknown")
	}
	e.passed(sent.Add(2*time.Second), info{})
	if !e.holds(tree) {
		t.Error("a runner that does not tell made a workspace unknown")
	}
	e.passed(sent.Add(2*time.Second), info{Workspaces: []string{"other"}, WorkspacesHeld: 1})
	if e.holds(tree) || !e.holds("other") {
		t.Error("a workspace that the runner let go is still known")
	}
}

func TestFaultsOfTheStoreAreNotTheRunners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := on(t, "http://a:1", "http://b:1")
		first := use(t, p, "t", &backend.Fault{Code: "WorkspaceUnavailable"})
		if second := use(t, p, "t", nil); second != first {
			t.Error("the runner was avoided")
		}
	})
}
