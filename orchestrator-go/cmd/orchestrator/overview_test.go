package main_test

import (
	"net/http"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// What a standby's own limiters say, which nothing uses, was shown as the leader's.
func TestAStandbyShowsWhatTheLeaderSays(t *testing.T) {
	store := queuetest.StartRedDB(t)
	fake := fakerunner.Start(t, 4)
	leader := start(t, store, fake.URL, "--limiter", "fixed", "--workers", "7")
	leader.awaitLead(t)
	standby := start(t, store, fake.URL, "--limiter", "fixed", "--workers", "3")
	standby.submit(t, `{"scope":true}`)
	for _, p := range []*process{leader, standby} {
		var seen httpapi.Overview
		queuetest.Eventually(t, patience, "the overview shows the task", func() bool {
			seen = httpapi.Overview{}
			p.call(t, "GET", "/v1/queue", "", http.StatusOK, &seen)
			return len(seen.Backends) == 1
		})
		if b := seen.Backends[0]; b.Capacity != 7 || b.Waiting != 1 || seen.Leader == nil || seen.Leader.Here != (p == leader) {
			t.Errorf("the overview: %+v", seen)
		}
		_, metrics := p.send(t, "GET", "/metrics", "")
		if got := strings.Contains(string(metrics), "dspy_orchestrator_limit_tasks{"); got != (p == leader) {
			t.Errorf("it shows limits: %v; it leads: %v", got, p == leader)
		}
	}
}
