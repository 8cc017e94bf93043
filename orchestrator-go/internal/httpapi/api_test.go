package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue"
)

const (
	token   = "the-token"
	knownID = "01890a5d-ac96-774b-bcce-b302099a8057"
)

// fakeTasks is a fake of the queue: it remembers submissions and answers with err.
type fakeTasks struct {
	subs    []queue.Submission
	err     error
	filter  queue.Filter
	limit   int
	cursor  string
	owner   string // tenant of the tasks that it knows,
	backend string // and theirs
}

func (f *fakeTasks) Enqueue(_ context.Context, subs []queue.Submission) ([]string, error) {
	f.subs = subs
	ids := make([]string, len(subs))
	for i := range ids {
		ids[i] = knownID
	}
	return ids, f.err
}

func (f *fakeTasks) known(state queue.State) (queue.Task, error) {
	return queue.Task{ID: knownID, State: state, Spec: queue.Spec{Tenant: f.owner, Backend: f.backend}}, f.err
}

func (f *fakeTasks) Get(context.Context, string) (queue.Task, error) { return f.known(queue.Queued) }

func (f *fakeTasks) GetMany(context.Context, []string) ([]queue.Task, error) { return nil, f.err }

func (f *fakeTasks) List(_ context.Context, filter queue.Filter, limit int, cursor string) (queue.Page, error) {
	f.filter, f.limit, f.cursor = filter, limit, cursor
	return queue.Page{}, f.err
}

func (f *fakeTasks) Cancel(context.Context, string) (queue.Task, error) {
	return f.known(queue.Cancelled)
}

func (f *fakeTasks) CloseScope(context.Context, string) (queue.Task, error) {
	return f.known(queue.Waiting)
}

func (f *fakeTasks) DeadLetters(_ context.Context, tenant string, limit int, cursor string) (queue.Page, error) {
	f.filter, f.limit, f.cursor = queue.Filter{Tenant: tenant}, limit, cursor
	return queue.Page{}, f.err
}

func (f *fakeTasks) Revive(context.Context, string) (queue.Task, error) { return queue.Task{}, f.err }

// people are the clients of these tests, by their tokens.
type people map[string]auth.Principal

func (p people) Authenticate(_ context.Context, token string) (auth.Principal, error) {
	if token == "down" {
		return auth.Principal{}, errors.New("10.0.0.1: refused")
	}
	who, found := p[token]
	if !found {
		return who, auth.ErrUnknown
	}
	return who, nil
}

var everybody = people{
	token: {Name: "root", Admin: true}, "ann": {Name: "ann", Tenant: "team-a"}, "bob": {Name: "bob", Tenant: "team-a"}, "nobody": {Name: "nobody"},
}

func newAPI(t testing.TB, o httpapi.Options) *httpapi.API {
	t.Helper()
	o.Auth, o.Log = everybody, slog.New(slog.DiscardHandler)
	api := httpapi.NewAPI(o)
	t.Cleanup(api.Close)
	return api
}

func send(t *testing.T, tasks *fakeTasks, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	h := newAPI(t, httpapi.Options{Tasks: tasks})
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func errorCode(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Error.Message == "" {
		t.Errorf("not an error of ours: %q", w.Body)
	}
	return body.Error.Code
}

func TestContractIsCommitted(t *testing.T) {
	want, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../../contracts/http/orchestrator.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("contracts/http/orchestrator.yaml is stale: write the output of `orchestrator openapi` into it")
	}
}

func TestTokenIsRequired(t *testing.T) {
	for _, header := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Basic " + token, token} {
		w := send(t, &fakeTasks{}, "GET", "/v1/tasks", "", "Authorization", header)
		if w.Code != http.StatusUnauthorized || errorCode(t, w) != "Unauthorized" {
			t.Errorf("%q: %d %s", header, w.Code, w.Body)
		}
	}
}

func TestOneTaskGetsDefaults(t *testing.T) {
	tasks := &fakeTasks{}
	w := send(t, tasks, "POST", "/v1/tasks", `{"argv":["/bin/true"]}`)
	if w.Code != http.StatusAccepted || strings.TrimSpace(w.Body.String()) != `{"id":"`+knownID+`"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	got := tasks.subs[0]
	if s := got.Spec; s.TimeoutMS != 60_000 || s.MaxAttempts != 3 || s.Class != queue.Short || s.OutputLimitBytes != 64<<10 {
		t.Errorf("spec %+v", s)
	}
	if len(got.Traceparent) != 55 {
		t.Errorf("traceparent %q", got.Traceparent)
	}
}

func TestBatchAndTrace(t *testing.T) {
	tasks := &fakeTasks{}
	trace := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	w := send(t, tasks, "POST", "/v1/tasks", `{"tasks":[{"noop":true},{"argv":["a"],"class":"Long"}]}`, "Traceparent", trace)
	if w.Code != http.StatusAccepted || !strings.Contains(w.Body.String(), `"ids":[`) || len(tasks.subs) != 2 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if got := tasks.subs[1]; !strings.HasPrefix(got.Traceparent, trace[:36]) || got.Spec.Class != queue.Long {
		t.Errorf("submitted %+v", got)
	}
}

func TestBadRequestsSayWhatToDo(t *testing.T) {
	for body, status := range map[string]int{
		`{}`:                                         422,
		`{"argv":[]}`:                                422,
		`{"argv":[""]}`:                              422,
		`{"argv":["a\u0000b"]}`:                      422,
		`{"argv":["a"],"env":{"A=B":"c"}}`:           422,
		`{"argv":["a"],"noop":true}`:                 422,
		`{"argv":"/bin/true"}`:                       422,
		`{"argv":["a"],"class":"Huge"}`:              422,
		`{"argv":["a"],"max_attempts":1000}`:         422,
		`{"argv":["a"],"workspace":{"sha256":"00"}}`: 422,
		`{"tasks":[]}`:                               422,
		`{"tasks":[{"argv":["a"]}],"argv":["b"]}`:    422,
		`{"tasks":[` + strings.Repeat(`{"noop":true},`, 10_000) + `{"noop":true}]}`: 422,
		`{"argv":`:                              422,
		`"` + strings.Repeat("x", 17<<20) + `"`: 413,
	} {
		w := send(t, &fakeTasks{}, "POST", "/v1/tasks", body)
		if w.Code != status || errorCode(t, w) == "" {
			t.Errorf("%.60s: %d %.300s", body, w.Code, w.Body)
		}
	}
	w := send(t, &fakeTasks{}, "POST", "/v1/tasks", `{"tasks":[{"noop":true},{"argv":["a"],"class":"Huge"}]}`)
	if got := w.Body.String(); !strings.Contains(got, "tasks[1].class") || !strings.Contains(got, "Interactive") {
		t.Errorf("the message does not name the place and the choices: %s", got)
	}
	if w := send(t, &fakeTasks{}, "GET", "/v1/tasks/..%2Fdead", ""); w.Code != 422 {
		t.Errorf("an id with a path: %d", w.Code)
	}
}

func TestErrorsOfTheQueueAreSafe(t *testing.T) {
	for err, want := range map[error]string{
		queue.ErrNotFound: "TaskNotFound", queue.ErrFinished: "AlreadyFinished", queue.ErrNotDead: "NotDead",
		queue.ErrIdempotencyConflict: "IdempotencyConflict", queue.ErrBadCursor: "BadCursor",
		queue.ErrTooLarge: "TooLarge", queue.ErrParentEnded: "ParentEnded", queue.ErrParentNotFound: "ParentNotFound",
		queue.ErrNotScope:                          "NotScope",
		errors.New("dial 10.0.0.7: secret detail"): "StoreUnavailable",
	} {
		w := send(t, &fakeTasks{err: err}, "GET", "/v1/tasks/"+knownID, "")
		if code := errorCode(t, w); code != want || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestWhatTimeHelpsSaysWhenToTryAgain(t *testing.T) {
	for err, status := range map[error]int{queue.ErrQueueFull: 429, errors.New("refused"): 503} {
		w := send(t, &fakeTasks{err: fmt.Errorf("enqueueing: %w", err)}, "POST", "/v1/tasks", `{"noop":true}`)
		if w.Code != status || w.Header().Get("Retry-After") == "" || errorCode(t, w) == "" {
			t.Errorf("%v: %d %v %s", err, w.Code, w.Header(), w.Body)
		}
	}
}

func TestPagingReachesTheQueue(t *testing.T) {
	for path, want := range map[string]fakeTasks{
		"/v1/tasks": {limit: 100},
		"/v1/tasks?limit=7&cursor=1-2&state=Failed": {limit: 7, cursor: "1-2", filter: queue.Filter{State: queue.Failed}},
		"/v1/dead-letters?limit=7&cursor=1-2":       {limit: 7, cursor: "1-2"},
	} {
		tasks := &fakeTasks{}
		w := send(t, tasks, "GET", path, "")
		if w.Code != http.StatusOK || tasks.limit != want.limit || tasks.cursor != want.cursor || tasks.filter != want.filter {
			t.Errorf("%s: %d, asked for %+v", path, w.Code, tasks)
		}
	}
	for _, path := range []string{"/v1/tasks?limit=0", "/v1/tasks?limit=501", "/v1/tasks?state=Lost"} {
		if w := send(t, &fakeTasks{}, "GET", path, ""); w.Code != 422 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
