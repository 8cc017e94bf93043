package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue"
)

const ofTask = "/v1/tasks/" + knownID

func TestOthersTasksDoNotExist(t *testing.T) {
	for _, c := range []struct{ method, path string }{
		{"GET", ofTask}, {"GET", ofTask + "/children"}, {"GET", ofTask + "/events"}, {"POST", ofTask + "/cancel"},
		{"POST", ofTask + "/close"}, {"POST", "/v1/dead-letters/" + knownID + "/retry"},
	} {
		for _, owner := range []string{"team-b", ""} {
			w := send(t, &fakeTasks{owner: owner}, c.method, c.path, "", "Authorization", "Bearer ann")
			if w.Code != http.StatusNotFound || errorCode(t, w) != "TaskNotFound" {
				t.Errorf("%s %s of %q: %d %s", c.method, c.path, owner, w.Code, w.Body)
			}
		}
		if strings.HasSuffix(c.path, "/events") {
			continue
		}
		if w := send(t, &fakeTasks{owner: "team-a"}, c.method, c.path, "", "Authorization", "Bearer ann"); w.Code != http.StatusOK {
			t.Errorf("%s %s of one's own: %d %s", c.method, c.path, w.Code, w.Body)
		}
	}
}

func TestListingsShowOnesOwnTasks(t *testing.T) {
	for _, c := range []struct {
		token, query, tenant string
		status               int
	}{
		{"ann", "", "team-a", 200}, {"ann", "?tenant=team-a", "team-a", 200}, {"ann", "?tenant=team-b", "", 403},
		{"nobody", "", "", 422}, {token, "", "", 200}, {token, "?tenant=team-b", "team-b", 200},
	} {
		for _, path := range []string{"/v1/tasks", "/v1/dead-letters"} {
			tasks := &fakeTasks{}
			w := send(t, tasks, "GET", path+c.query, "", "Authorization", "Bearer "+c.token)
			if w.Code != c.status || tasks.filter.Tenant != c.tenant {
				t.Errorf("%s%s by %s: %d, asked for %q", path, c.query, c.token, w.Code, tasks.filter.Tenant)
			}
		}
	}
}

func TestATaskBelongsToWhoSendsIt(t *testing.T) {
	for _, c := range []struct {
		token, body, tenant string
		status              int
	}{
		{"ann", `{"noop":true}`, "team-a", 202}, {"ann", `{"noop":true,"tenant":"team-a"}`, "team-a", 202},
		{"ann", `{"tasks":[{"noop":true},{"noop":true,"tenant":"team-b"}]}`, "", 403}, {"nobody", `{"noop":true}`, "", 422},
		{token, `{"noop":true}`, "", 202}, {token, `{"noop":true,"tenant":"team-b"}`, "team-b", 202},
	} {
		tasks := &fakeTasks{}
		w := send(t, tasks, "POST", "/v1/tasks", c.body, "Authorization", "Bearer "+c.token)
		if w.Code != c.status {
			t.Errorf("%s by %s: %d %s", c.body, c.token, w.Code, w.Body)
		}
		if (len(tasks.subs) > 0) != (c.status == 202) {
			t.Errorf("%s by %s: stored %+v", c.body, c.token, tasks.subs)
		} else if c.status == 202 && tasks.subs[0].Spec.Tenant != c.tenant {
			t.Errorf("%s by %s belongs to %q", c.body, c.token, tasks.subs[0].Spec.Tenant)
		}
	}
}

func TestSlurmIsForTheTenantsThatAreNamed(t *testing.T) {
	for _, c := range []struct {
		token, body string
		status      int
	}{
		{"ann", `{"argv":["a"],"backend":"slurm"}`, 403}, {"ann", `{"tasks":[{"noop":true},{"argv":["a"],"backend":"slurm"}]}`, 403},
		{"ann", `{"argv":["a"]}`, 202}, {token, `{"argv":["a"],"backend":"slurm","tenant":"team-a"}`, 403},
		{token, `{"argv":["a"],"backend":"slurm","tenant":"lab"}`, 202}, {token, `{"argv":["a"],"backend":"slurm"}`, 202},
	} {
		tasks := &fakeTasks{}
		api := newAPI(t, httpapi.Options{Tasks: tasks, SlurmTenants: []string{"lab"}})
		w := postAs(api, "/v1/tasks", c.body, c.token)
		if w.Code != c.status || (len(tasks.subs) > 0) != (c.status == 202) {
			t.Errorf("%s by %s: %d %s", c.body, c.token, w.Code, w.Body)
		}
		if w.Code == 403 && (errorCode(t, w) != "BackendForbidden" || !strings.Contains(w.Body.String(), "team-a")) {
			t.Errorf("refused with %s", w.Body)
		}
	}
	const retry = "/v1/dead-letters/" + knownID + "/retry"
	for owner, want := range map[string]int{"team-a": 403, "lab": 200} {
		tasks := &fakeTasks{owner: owner, backend: queue.SlurmBackend}
		if w := postAs(newAPI(t, httpapi.Options{Tasks: tasks, SlurmTenants: []string{"lab"}}), retry, "", token); w.Code != want {
			t.Errorf("a dead letter of %s: %d %s", owner, w.Code, w.Body)
		}
	}
}

func postAs(h http.Handler, path, body, who string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+who)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestIdempotencyKeysOfTenantsDoNotMeet(t *testing.T) {
	keys := map[string]bool{}
	for _, tenant := range []string{"", "team-a", "team-b"} {
		tasks := &fakeTasks{}
		if w := send(t, tasks, "POST", "/v1/tasks", `{"noop":true,"idempotency_key":"k","tenant":"`+tenant+`"}`); w.Code != 202 && tenant != "" {
			t.Fatalf("%d %s", w.Code, w.Body)
		} else if w.Code == 202 {
			keys[tasks.subs[0].Spec.IdempotencyKey] = true
		}
	}
	if len(keys) != 2 {
		t.Errorf("got %v", keys)
	}
}

func TestWhoCannotBeFoundOutIsNotRefused(t *testing.T) {
	w := send(t, &fakeTasks{}, "GET", "/v1/tasks", "", "Authorization", "Bearer down")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || errorCode(t, w) != "AuthUnavailable" || strings.Contains(w.Body.String(), "10.0") {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

func TestTheOverviewOfATenantIsTheirs(t *testing.T) {
	for who, want := range map[string]string{"ann": "team-a", token: ""} {
		var asked string
		api := newAPI(t, httpapi.Options{Tasks: &fakeTasks{}, Overview: overviewOf(&asked)})
		w := ask(api, "GET", "/v1/queue", who)
		if w.Code != 200 || asked != want {
			t.Errorf("%s: %d, asked for %q", who, w.Code, asked)
		}
		if shows := strings.Contains(w.Body.String(), "gpu"); shows != (want == "") {
			t.Errorf("%s sees %s", who, w.Body)
		}
	}
	if w := send(t, &fakeTasks{}, "GET", "/v1/queue", ""); w.Code != 503 {
		t.Errorf("without one: %d %s", w.Code, w.Body)
	}
}

func overviewOf(asked *string) func(context.Context, string) (httpapi.Overview, error) {
	return func(_ context.Context, tenant string) (httpapi.Overview, error) {
		*asked = tenant
		return httpapi.Overview{
			Leader: &httpapi.Leader{Name: "a"}, Tenants: []httpapi.Load{{Name: "team-a", Queued: 1}}, Limits: []httpapi.KeyLoad{{Key: "gpu"}},
		}, nil
	}
}

func ask(h http.Handler, method, path, who string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Authorization", "Bearer "+who)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
