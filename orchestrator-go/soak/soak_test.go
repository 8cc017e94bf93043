package main

import (
	"context"
	"os"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// TestMain is also the runners' program: they are this binary, started again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == runnerCommand {
		exit(serveRunner(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestKilledProcessesLoseNothing is a small soak; `go run ./soak` is the large one.
func TestKilledProcessesLoseNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	report, err := run(ctx, options{
		tasks: 20_000, batch: 1000, every: 800 * time.Millisecond, orchestrators: 3, runners: 2, workers: 16, faults: 20, queued: 10_000,
		seed: 7, reddb: queuetest.Binary(t, "REDDB_BIN", "reddb"), source: "..", dir: t.TempDir(), quiet: true,
	})
	if err != nil {
		t.Error(err)
	}
	if report == nil {
		return
	}
	t.Logf("\n%s", report)
	if report.lost+report.twice+report.wrong > 0 || report.kills.Load() == 0 || report.sent != 20_000 {
		t.Error("see the report")
	}
}

func TestSightsAreKeptAsTheyAre(t *testing.T) {
	id, err := parseID("018f0000-0000-7000-8000-000000000001")
	if err != nil {
		t.Fatal(err)
	}
	s := sight{task: id, token: 1 << 20, at: time.Unix(0, 17), failed: true}
	if got := decodeSight(s.encode()); got != s {
		t.Errorf("%+v became %+v", s, got)
	}
}

// TestWhatIsWrongIsFound holds single tasks against what the runners saw of them.
func TestWhatIsWrongIsFound(t *testing.T) {
	at := time.Unix(17, 0)
	ended := func(change func(*httpapi.Task)) httpapi.Task {
		task := httpapi.Task{
			ID: "018f0000-0000-7000-8000-000000000001", State: "Succeeded", Attempts: 1, FinishedAt: &at, History: []httpapi.Attempt{{Number: 1, Token: 5}},
		}
		change(&task)
		return task
	}
	once := attempts{n: 1, highest: 5, succeeded: true}
	for name, c := range map[string]struct {
		task httpapi.Task
		seen attempts
		want expectation
		read fingers
		bad  bool
	}{
		"fine":             {task: ended(func(*httpapi.Task) {}), seen: once},
		"not ended":        {task: ended(func(t *httpapi.Task) { t.FinishedAt = nil }), seen: once, bad: true},
		"not cancelled":    {task: ended(func(*httpapi.Task) {}), seen: once, want: isCancelled, bad: true},
		"dead":             {task: ended(func(t *httpapi.Task) { t.State = "Dead" }), seen: once, bad: true},
		"ended twice":      {task: ended(func(*httpapi.Task) {}), seen: once, read: fingers{"Succeeded", 1, at.Add(-1)}, bad: true},
		"never ran":        {task: ended(func(*httpapi.Task) {}), bad: true},
		"a stale leader's": {task: ended(func(*httpapi.Task) {}), seen: attempts{n: 2, highest: 9, succeeded: true}, bad: true},
		"an open scope":    {task: ended(func(t *httpapi.Task) { t.Scope = true }), bad: true},
	} {
		id, err := parseID(c.task.ID)
		if err != nil {
			t.Fatal(err)
		}
		s := newSoak(options{}, nil)
		s.report.states = map[string]int{}
		s.expected[id] = c.want
		if c.read.state != "" {
			s.ends[id] = c.read
		}
		s.check(&c.task, map[[16]byte]attempts{id: c.seen}, map[[16]byte]bool{})
		if bad := len(s.report.faults) > 0; bad != c.bad {
			t.Errorf("%s: %v", name, s.report.faults)
		}
	}
}
