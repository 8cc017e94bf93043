package main_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

func child(parent, rest string) string { return fmt.Sprintf(`{"parent":%q,%s}`, parent, rest) }

func TestAScopeOutlastsItsOrchestrator(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		p := start(t, store, fakerunner.Start(t, 4).URL)
		scope := p.submit(t, `{"scope":true}`)
		done := p.submit(t, child(scope, `"argv":["/bin/true"]`))
		p.await(t, done, "Succeeded")
		later := p.submit(t, child(scope, `"noop":true,"delay_ms":3600000`))
		p.call(t, "POST", "/v1/tasks/"+scope+"/close", "", http.StatusOK, nil)
		p.kill(t)
		p.launch(t)
		if task := p.get(t, scope); task.State != "Waiting" {
			t.Errorf("the scope is %s before its children have ended", task.State)
		}
		p.call(t, "POST", "/v1/tasks", child(scope, `"noop":true`), http.StatusConflict, nil)
		p.call(t, "POST", "/v1/tasks/"+later+"/cancel", "", http.StatusOK, nil)
		task := p.await(t, scope, "Succeeded")
		if task.Children == nil || task.Children.Succeeded != 1 || task.Children.Failed != 1 || task.Children.Open != 0 {
			t.Errorf("its children: %+v", task.Children)
		}
		if ended := p.get(t, later); ended.FinishedAt.After(*task.FinishedAt) {
			t.Error("the scope ended before its child")
		}
		var page httpapi.TaskPage
		p.call(t, "GET", "/v1/tasks/"+scope+"/children", "", http.StatusOK, &page)
		if len(page.Tasks) != 2 {
			t.Errorf("%d children listed", len(page.Tasks))
		}
	})
}

func TestCancellingAParentEndsItsChildrenFirst(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 4)
		p := start(t, store, fake.URL)
		parent := p.submit(t, `{"argv":["/bin/sleep","3600"]}`)
		running := p.submit(t, child(parent, `"argv":["/bin/sleep","3600"]`))
		waiting := p.submit(t, child(parent, `"noop":true,"delay_ms":3600000`))
		deep := p.submit(t, child(running, `"noop":true,"delay_ms":3600000`))
		p.await(t, running, "Running")
		p.await(t, parent, "Running")
		p.call(t, "POST", "/v1/tasks/"+parent+"/cancel", "", http.StatusOK, nil)
		ended := p.await(t, parent, "Cancelled")
		for _, id := range []string{running, waiting, deep} {
			task := p.await(t, id, "Cancelled")
			if task.Error == nil || task.Error.Code != "ParentEnded" || task.FinishedAt.After(*ended.FinishedAt) {
				t.Errorf("a child ended as %+v", task)
			}
		}
		ceased := []string{<-fake.Ceased(), <-fake.Ceased()}
		if !slices.Contains(ceased, parent) || !slices.Contains(ceased, running) {
			t.Errorf("the runner's requests that were closed: %v", ceased)
		}
	})
}

func TestDeadlinesAndBudgetsEndWhatRuns(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		p := start(t, store, fakerunner.Start(t, 4).URL)
		for limit, code := range map[string]string{"deadline_ms": "DeadlineExceeded", "budget_ms": "BudgetExceeded"} {
			inner, scope := p.submitLimited(t, limit)
			for _, id := range []string{inner, scope} {
				if task := p.await(t, id, "Failed"); task.Error == nil || task.Error.Code != code {
					t.Errorf("%s: ended as %+v", limit, task.Error)
				}
			}
		}
	})
}

// submitLimited submits a child that would run for an hour, and its scope with some limit: a short one, unless the scope
// ends before it has the child.
func (p *process) submitLimited(t *testing.T, limit string) (inner, scope string) {
	for ms := 300; ; ms *= 2 {
		scope = p.submit(t, fmt.Sprintf(`{"scope":true,%q:%d}`, limit, ms))
		inner, status := p.trySubmit(t, child(scope, `"argv":["/bin/sleep","3600"]`))
		if status == http.StatusConflict {
			continue
		}
		var state string
		queuetest.Eventually(t, patience, "the child has begun, or ended", func() bool {
			state = string(p.get(t, inner).State)
			return state != "Queued"
		})
		if state != "Cancelled" { // with its scope
			return inner, scope
		}
	}
}

// TestOrder has one place to run, so that the order is that of the runner's requests.
func TestOrder(t *testing.T) {
	onEachStore(t, func(t *testing.T, store *queuetest.Server) {
		fake := fakerunner.Start(t, 4)
		p := start(t, store, fake.URL, "--workers", "1", "--limiter", "fixed")
		first := p.submit(t, `{"argv":["/bin/sleep","3600"],"tenant":"a"}`)
		<-fake.Admitted()
		names := map[string]string{}
		for _, task := range []string{
			`"tenant":"a"`, `"tenant":"a","priority":100`, `"tenant":"b","priority":-5`, `"tenant":"a","priority":7`, `"tenant":"b"`,
		} {
			names[p.submit(t, `{"noop":true,`+task+`}`)] = strings.ReplaceAll(task, `"`, "")
		}
		p.call(t, "POST", "/v1/tasks/"+first+"/cancel", "", http.StatusOK, nil)
		for id := range names {
			p.await(t, id, "Succeeded")
		}
		var order []string
		for _, h := range fake.Headers()[1:] {
			order = append(order, names[h.Get("X-Request-Id")])
		}
		// Tenants take turns; b has not been served yet.
		if want := []string{"tenant:b", "tenant:a,priority:100", "tenant:b,priority:-5", "tenant:a,priority:7", "tenant:a"}; !slices.Equal(order, want) {
			t.Errorf("ran in the order %v, want %v", order, want)
		}
	})
}

func TestALimitKeyIsNeverExceeded(t *testing.T) {
	fake := fakerunner.Start(t, 16)
	p := start(t, queuetest.StartRedDB(t), fake.URL, "--limiter", "fixed")
	var ids []string
	for range 6 {
		ids = append(ids, p.submit(t, `{"argv":["/bin/sleep","0.1"],"limit":{"key":"db","max":2}}`))
	}
	var spans []httpapi.Task
	for _, id := range ids {
		spans = append(spans, p.await(t, id, "Succeeded"))
	}
	for _, a := range spans {
		at := 0
		for _, b := range spans {
			if !b.StartedAt.After(*a.StartedAt) && b.History[0].EndedAt.After(*a.StartedAt) {
				at++
			}
		}
		if at > 2 {
			t.Errorf("%d ran at once", at)
		}
	}
}
