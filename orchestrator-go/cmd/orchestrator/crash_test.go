package main_test

import (
	"net/http"
	"reflect"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// TestKilledOrchestratorLosesNothing kills it in the middle of many tasks, more than once.
func TestKilledOrchestratorLosesNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 8)
		p := start(t, store, fake.URL)
		ids := p.submitNoops(t, 2000)
		done := map[string]httpapi.Task{}
		for _, enough := range []int{200, 600} {
			queuetest.Eventually(t, patience, "some tasks have run", func() bool { return len(fake.Runs()) > enough })
			p.kill(t)
			p.launch(t)
			unchanged(t, done, p.list(t, "Succeeded"))
			done = p.list(t, "Succeeded")
		}
		allSucceed(t, p, ids)
		unchanged(t, done, p.list(t, "Succeeded"))
		again := 0
		for _, n := range fake.Runs() {
			again += n - 1
		}
		t.Logf("%d tasks, %d attempts repeated after two kills", len(ids), again)
	})
}

// unchanged checks that no recorded outcome was recorded again.
func unchanged(t *testing.T, before, after map[string]httpapi.Task) {
	t.Helper()
	for id, task := range before {
		if !reflect.DeepEqual(task, after[id]) {
			t.Errorf("the outcome of %s changed from %+v to %+v", id, task, after[id])
		}
	}
}

func allSucceed(t *testing.T, p *process, ids []string) {
	t.Helper()
	queuetest.Eventually(t, patience, "all tasks have ended", func() bool { return len(p.list(t, "Succeeded")) >= len(ids) })
	got := p.list(t, "")
	if len(got) != len(ids) {
		t.Errorf("%d tasks known, %d sent", len(got), len(ids))
	}
	for _, id := range ids {
		if got[id].State != "Succeeded" {
			t.Errorf("task %s is %s", id, got[id].State)
		}
	}
}

// TestKilledStoreLosesNothing kills the store in the middle; the orchestrator carries on with it.
func TestKilledStoreLosesNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 8)
		p := start(t, store, fake.URL)
		ids := p.submitNoops(t, 2000)
		queuetest.Eventually(t, patience, "some tasks have run", func() bool { return len(fake.Runs()) > 300 })
		store.Kill(t)
		resp, err := http.Get(p.base + "/readyz")
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("ready without a store: %v, %v", resp, err)
		}
		if err == nil {
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		}
		p.call(t, "POST", "/v1/tasks", `{"noop":true}`, http.StatusServiceUnavailable, nil)
		store.Start(t)
		p.awaitReady(t)
		allSucceed(t, p, ids)
		for id, n := range fake.Runs() {
			if n > 1 {
				t.Errorf("task %s ran %d times, though its orchestrator never stopped", id, n)
			}
		}
	})
}
