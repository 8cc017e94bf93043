package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestATaskSaysAllThatItWants(t *testing.T) {
	tasks := &fakeTasks{}
	begin, end := time.Now().Add(time.Hour).UTC().Truncate(time.Second), time.Now().Add(2*time.Hour).UTC().Truncate(time.Second)
	w := send(t, tasks, "POST", "/v1/tasks", `{"argv":["a"],"tenant":"team-b","priority":-7,"not_before":"`+begin.Format(time.RFC3339)+
		`","deadline":"`+end.Format(time.RFC3339)+`","limit":{"key":"gpu","max":2},"parent":"`+knownID+`","budget_ms":9,"backend":"slurm","workspace":"`+
		strings.Repeat("0a", 32)+`","slurm":{"account":"lab","gres":"gpu:a100:2","array":"0-9%2","constraint":"[rack1&rack2]","nodes":2,"requeue":true}}`)
	if w.Code != http.StatusAccepted {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got := tasks.subs[0].Spec
	if got.Tenant != "team-b" || got.Priority != -7 || !got.NotBefore.Equal(begin) || !got.Deadline.Equal(end) || got.LimitKey != "gpu" ||
		got.LimitMax != 2 || got.Parent != knownID || got.BudgetMS != 9 || got.Backend != queue.SlurmBackend || len(got.Workspace) != 64 {
		t.Errorf("%+v", got)
	}
	want := queue.Slurm{Account: "lab", Gres: "gpu:a100:2", Array: "0-9%2", Constraint: "[rack1&rack2]", Nodes: 2, Requeue: true}
	if got.Slurm == nil || *got.Slurm != want {
		t.Errorf("%+v", got.Slurm)
	}
}

func TestTimesFromNowOn(t *testing.T) {
	tasks, before := &fakeTasks{}, time.Now()
	if w := send(t, tasks, "POST", "/v1/tasks", `{"scope":true,"delay_ms":1000,"deadline_ms":3600000}`); w.Code != 202 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	got, after := tasks.subs[0].Spec, time.Now()
	within := func(at time.Time, d time.Duration) bool { return !at.Before(before.Add(d)) && !at.After(after.Add(d)) }
	if !within(got.NotBefore, time.Second) || !within(got.Deadline, time.Hour) || !got.Scope {
		t.Errorf("%+v", got)
	}
}

func TestWhatATaskCannotWant(t *testing.T) {
	for body, names := range map[string]string{
		`{"noop":true,"priority":101}`: "priority", `{"noop":true,"Priority":1}`: "Priority", `{"noop":true,"tenant":"Team"}`: "tenant",
		`{"noop":true,"tenant":"../b"}`: "tenant", `{"noop":true,"delay_ms":1,"not_before":"2200-01-01T00:00:00Z"}`: "not both",
		`{"noop":true,"not_before":"2200-01-01T00:00:00Z"}`: "a year", `{"noop":true,"deadline":"2020-01-01T00:00:00Z"}`: "passed",
		`{"noop":true,"deadline":"tomorrow"}`: "deadline", `{"noop":true,"deadline_ms":5,"delay_ms":6}`: "before",
		`{"noop":true,"idempotency_key":"k","delay_ms":5}`: "not_before",
		`{"noop":true,"limit":{"key":"a"}}`:                "max", `{"noop":true,"limit":{"key":"a b","max":1}}`: "limit.key",
		`{"noop":true,"parent":"17"}`: "parent", `{"scope":true,"argv":["a"]}`: "scope", `{"scope":true,"backend":"slurm"}`: "scope",
		`{"noop":true,"backend":"cloud"}`: "backend", `{"noop":true,"workspace":"00"}`: "SHA-256", `{"noop":true,"slurm":{}}`: "backend",
		`{"noop":true,"budget_ms":0}`: "budget_ms", `[]`: "object", `null`: "object", `{"tasks":{}}`: "array",
		`{"noop":true} {"noop":true}`: "more after", `{"tasks":[{"noop":true}],"tasks":[{"noop":true}]}`: "once",
		`{"tasks":[{"noop":true},7]}`: "tasks[1]", `{"tasks":[{"noop":true}`: "JSON",
	} {
		tasks := &fakeTasks{}
		w := send(t, tasks, "POST", "/v1/tasks", body)
		if w.Code != 422 || errorCode(t, w) == "" || !strings.Contains(w.Body.String(), names) || len(tasks.subs) > 0 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
	}
}

func TestSlurmsStringsCannotBecomeOptions(t *testing.T) {
	for _, field := range []string{"account", "partition", "qos", "constraint", "reservation", "gres", "array"} {
		for _, value := range []string{"-x", "--wrap=id", "a b", `a\nb`, `a\u0000`, "a;b", "$(id)", "a'b", `a\\b`, "é"} {
			w := send(t, &fakeTasks{}, "POST", "/v1/tasks", `{"argv":["a"],"backend":"slurm","slurm":{"`+field+`":"`+value+`"}}`)
			if w.Code != 422 || !strings.Contains(w.Body.String(), "slurm."+field) {
				t.Errorf("%s %q: %d %s", field, value, w.Code, w.Body)
			}
		}
	}
}

// What a task says twice would be checked once: the decoder merges objects where the check sees the last.
func TestWhatIsSaidTwiceIsReadAsItWasChecked(t *testing.T) {
	tasks := &fakeTasks{}
	w := send(t, tasks, "POST", "/v1/tasks", `{"argv":["a"],"backend":"slurm","slurm":{"account":"--wrap=id"},"slurm":{"qos":"low"}}`)
	if w.Code == 202 && tasks.subs[0].Spec.Slurm.Account != "" {
		t.Errorf("stored %+v", tasks.subs[0].Spec.Slurm)
	}
}

func TestManyLargeBodiesAtOnceAreAskedToWait(t *testing.T) {
	hold, entered := make(chan struct{}), make(chan struct{}, 16)
	api := newAPI(t, httpapi.Options{Tasks: &holding{hold: hold, entered: entered}})
	post := func(h http.Handler, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/v1/tasks", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer "+token)
		r.ContentLength = 16 << 20 // as it says: what counts before it is read
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	body := `{"noop":true}`
	ended := make(chan int, 8)
	for range 8 {
		go func() { ended <- post(api, body).Code }()
	}
	for range 8 {
		select {
		case <-entered:
		case code := <-ended:
			t.Fatalf("refused: %d", code)
		}
	}
	if w := post(api, body); w.Code != 429 || w.Header().Get("Retry-After") == "" || errorCode(t, w) != "Busy" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	close(hold)
	for range 8 {
		if code := <-ended; code != 202 {
			t.Errorf("one that was taken: %d", code)
		}
	}
	if w := post(api, body); w.Code != 202 {
		t.Errorf("afterwards: %d %s", w.Code, w.Body)
	}
}

func TestBodiesThatNobodyReadsKeepNoneWaiting(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, _ *live) {
		for range 8 {
			ctx, hangUp := context.WithCancel(context.Background())
			defer hangUp()
			r := httptest.NewRequest("GET", ofTask+"/events", strings.NewReader("{")).WithContext(ctx)
			r.Header.Set("Authorization", "Bearer "+token)
			r.ContentLength = 16 << 20
			events := open(api, r)
			expect(t, events, "comment", "following")
			go func() {
				for range events {
				}
			}()
		}
		r := httptest.NewRequest("POST", "/v1/tasks", strings.NewReader(`{"noop":true}`))
		r.Header.Set("Authorization", "Bearer "+token)
		r.ContentLength = 16 << 20
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		if w.Code != 202 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

func BenchmarkTenThousandNoops(b *testing.B) {
	benchmark(b, `{"noop":true}`)
}

func BenchmarkTenThousandCommands(b *testing.B) {
	benchmark(b, `{"argv":["python","-m","pytest","-q","tests/test_one.py"],"env":{"A":"b"},"class":"Long","priority":3,"limit":{"key":"k","max":5}}`)
}

func benchmark(b *testing.B, task string) {
	api := newAPI(b, httpapi.Options{Tasks: &fakeTasks{}})
	body := `{"tasks":[` + strings.Repeat(task+",", 9_999) + task + `]}`
	b.ReportAllocs()
	for b.Loop() {
		if w := post(api, body); w.Code != 202 {
			b.Fatal(w.Body)
		}
	}
}

// holding is a queue that answers when it is let.
type holding struct {
	fakeTasks
	hold, entered chan struct{}
}

func (h *holding) Enqueue(context.Context, []queue.Submission) ([]string, error) {
	h.entered <- struct{}{}
	<-h.hold
	return []string{knownID}, nil
}

func post(h http.Handler, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("POST", "/v1/tasks", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
