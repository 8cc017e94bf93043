package main_test

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// onEachStore runs a test on every store that the orchestrator is made for.
func onEachStore(t *testing.T, test func(*testing.T, *queuetest.Server)) {
	for name, start := range map[string]func(testing.TB) *queuetest.Server{
		"redis": queuetest.StartRedis, "reddb": queuetest.StartRedDB,
	} {
		t.Run(name, func(t *testing.T) { test(t, start(t)) })
	}
}

func TestTasksEndAsTheirCommandsDo(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		p := start(t, store, fakerunner.Start(t, 4).URL)
		for body, want := range map[string]struct{ state, reason, stdout, code string }{
			`{"noop":true}`:                                       {state: "Succeeded"},
			`{"argv":["/bin/true"]}`:                              {state: "Succeeded", reason: "Completed"},
			`{"argv":["/bin/false"]}`:                             {state: "Failed", reason: "NonZeroExit"},
			`{"argv":["/bin/echo","a b"],"class":"Interactive"}`:  {state: "Succeeded", reason: "Completed", stdout: "a b\n"},
			`{"argv":["/bin/sleep","60"],"timeout_ms":20}`:        {state: "Failed", reason: "TimedOut"},
			`{"argv":["/no/such/program"]}`:                       {state: "Failed", code: "CannotStart"},
			`{"argv":["/bin/cat"],"stdin":"in","class":"Long"}`:   {state: "Succeeded", reason: "Completed", stdout: "in"},
			`{"argv":["/bin/true"],"idempotency_key":"only one"}`: {state: "Succeeded", reason: "Completed"},
			`{"argv":["/usr/bin/printenv","A"],"env":{"A":"b"}}`:  {state: "Succeeded", reason: "Completed", stdout: "b\n"},
			`{"argv":["/bin/true"],"output_limit_bytes":100}`:     {state: "Succeeded", reason: "Completed"},
		} {
			got := p.await(t, p.submit(t, body), want.state)
			if got.Attempts != 1 || got.FinishedAt == nil {
				t.Errorf("%s: %+v", body, got)
			}
			if (got.Result == nil) != (want.reason == "") || (got.Result != nil && (got.Result.Reason != want.reason || got.Result.Stdout != want.stdout)) {
				t.Errorf("%s: result %+v", body, got.Result)
			}
			if (got.Error == nil) != (want.code == "") || (got.Error != nil && got.Error.Code != want.code) {
				t.Errorf("%s: error %+v", body, got.Error)
			}
		}
		again := `{"argv":["/bin/true"],"idempotency_key":"only one"}`
		if first, second := p.submit(t, again), p.submit(t, again); first != second {
			t.Errorf("one idempotency key has the ids %s and %s", first, second)
		}
		p.call(t, "POST", "/v1/tasks", strings.Replace(again, "true", "false", 1), http.StatusConflict, nil)
		metricsAgree(t, p)
		p.terminate(t)
	})
}

func metricsAgree(t *testing.T, p *process) {
	t.Helper()
	resp, err := http.Get(p.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err = closing(resp, err); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`dspy_orchestrator_tasks_finished_total{class="Interactive",state="Succeeded"} 1`,
		`dspy_orchestrator_tasks_finished_total{class="Short",state="Failed"} 3`,
		`dspy_orchestrator_healthy_runners 1`,
	} {
		if !strings.Contains(string(text), line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}

func TestCancellingClosesTheRunnersRequest(t *testing.T) {
	store, fake := queuetest.StartRedis(t), fakerunner.Start(t, 4)
	here, elsewhere := start(t, store, fake.URL), start(t, store, fake.URL)
	for _, p := range []*process{here, elsewhere} {
		id := here.submit(t, `{"argv":["/bin/sleep","3600"]}`)
		p.await(t, id, "Running")
		var task httpapi.Task
		p.call(t, "POST", "/v1/tasks/"+id+"/cancel", "", http.StatusOK, &task)
		if task.State != "Cancelled" || <-fake.Ceased() != id {
			t.Errorf("cancelled: %+v", task)
		}
		p.call(t, "POST", "/v1/tasks/"+id+"/cancel", "", http.StatusOK, nil)
	}
}

func TestDeadLetterIsPutBack(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 4)
		p := start(t, store, fake.URL)
		fake.Script(fakerunner.Answer{Status: 500}, fakerunner.Answer{Drop: true})
		id := p.submit(t, `{"noop":true,"max_attempts":2}`)
		if dead := p.await(t, id, "Dead"); dead.Attempts != 2 || dead.Error == nil {
			t.Errorf("dead: %+v", dead)
		}
		var page httpapi.TaskPage
		p.call(t, "GET", "/v1/dead-letters", "", http.StatusOK, &page)
		if len(page.Tasks) != 1 || page.Tasks[0].ID != id {
			t.Errorf("dead letters: %+v", page)
		}
		p.call(t, "POST", "/v1/dead-letters/"+id+"/retry", "", http.StatusOK, nil)
		p.await(t, id, "Succeeded")
		p.call(t, "POST", "/v1/dead-letters/"+id+"/retry", "", http.StatusConflict, nil)
		if n := fake.Runs()[id]; n != 3 {
			t.Errorf("ran %d times, want 3", n)
		}
	})
}

func TestSIGTERMHandsBackWhatDoesNotEnd(t *testing.T) {
	store, fake := queuetest.StartRedis(t), fakerunner.Start(t, 4)
	first := start(t, store, fake.URL, "--drain-timeout", "200ms")
	id := first.submit(t, `{"argv":["/bin/sleep","0.5"]}`)
	<-fake.Admitted()
	second := start(t, store, fake.URL)
	first.terminate(t)
	if got := second.await(t, id, "Succeeded"); got.Attempts != 1 {
		t.Errorf("handing back was charged as an attempt: %+v", got)
	}
}

// TestDrainingAcceptsTasks sends one to an orchestrator that has been told to stop, and waits for a long attempt.
func TestDrainingAcceptsTasks(t *testing.T) {
	store, fake := queuetest.StartRedis(t), fakerunner.Start(t, 4)
	first := start(t, store, fake.URL, "--drain-timeout", "10m")
	slow := first.submit(t, `{"argv":["/bin/sleep","3600"]}`)
	<-fake.Admitted()
	first.signal(t, syscall.SIGTERM)
	first.awaitProbe(t, http.StatusServiceUnavailable)
	late := first.submit(t, `{"noop":true,"max_attempts":1}`)
	second := start(t, store, fake.URL)
	second.await(t, late, "Succeeded")
	second.call(t, "POST", "/v1/tasks/"+slow+"/cancel", "", http.StatusOK, nil)
	first.awaitExit(t)
}

func TestFullQueueRefusesAndLosesNothing(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 4)
		p := start(t, store, fake.URL, "--workers", "1", "--max-queued", "10000")
		slow := p.submit(t, `{"argv":["/bin/sleep","3600"]}`)
		<-fake.Admitted()
		ids := p.submitNoops(t, 9999)
		p.call(t, "POST", "/v1/tasks", `{"noop":true}`, http.StatusTooManyRequests, nil)
		p.call(t, "POST", "/v1/tasks/"+slow+"/cancel", "", http.StatusOK, nil)
		ids = append(ids, p.submitSoon(t, `{"noop":true}`))
		p.terminate(t)
		next := start(t, store, fake.URL, "--limiter", "fixed")
		queuetest.Eventually(t, patience, "all tasks have ended", func() bool { return len(next.list(t, "Succeeded")) == len(ids) })
	})
}

// TestTheRealChain has no fake in it.
func TestTheRealChain(t *testing.T) {
	p := start(t, queuetest.StartRedDB(t), backendtest.StartEnvRunner(t, fakerunner.Token))
	ids := p.submitNoops(t, 1000)
	echo := p.await(t, p.submit(t, `{"argv":["/bin/echo","a b"]}`), "Succeeded")
	if echo.Result == nil || echo.Result.Stdout != "a b\n" || len(echo.Result.Isolation) == 0 {
		t.Errorf("echo: %+v", echo.Result)
	}
	slow := p.submit(t, `{"argv":["/bin/sleep","3600"],"timeout_ms":3600000}`)
	p.await(t, slow, "Running")
	p.call(t, "POST", "/v1/tasks/"+slow+"/cancel", "", http.StatusOK, nil)
	p.await(t, p.submit(t, `{"argv":["/no/such/program"]}`), "Failed")
	for _, id := range ids {
		p.await(t, id, "Succeeded")
	}
	p.terminate(t)
}
