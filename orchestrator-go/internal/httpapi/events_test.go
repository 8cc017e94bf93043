package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue"
)

// live is a queue of one task that changes, with its log.
type live struct {
	fakeTasks
	mu    sync.Mutex
	task  queue.Task
	gone  bool
	text  string
	looks int
	asked []string
}

func (l *live) set(change func(*queue.Task)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.task)
}

func (l *live) write(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += text
}

func (l *live) Get(context.Context, string) (queue.Task, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		return queue.Task{}, queue.ErrNotFound
	}
	return l.task, nil
}

func (l *live) GetMany(_ context.Context, ids []string) ([]queue.Task, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks, l.asked = l.looks+1, ids
	if l.gone {
		return nil, nil
	}
	task := l.task
	task.Result = nil // as listings show it
	return []queue.Task{task}, nil
}

func (l *live) Tail(_ context.Context, _ queue.Task, offset int64) ([]byte, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if int(offset) > len(l.text) { // as the backend's: it begins anew
		offset = 0
	}
	chunk := []byte(l.text)[offset:]
	chunk = chunk[:min(len(chunk), 8)]
	return chunk, offset + int64(len(chunk)), nil
}

func newLive() *live {
	return &live{task: queue.Task{ID: knownID, State: queue.Queued, Spec: queue.Spec{Argv: []string{"a"}}}}
}

func (l *live) run(attempt int) {
	l.set(func(t *queue.Task) { t.State, t.Attempts, t.Place = queue.Running, attempt, "http://runner" })
}

func (l *live) succeed() {
	l.set(func(t *queue.Task) { t.State, t.Result = queue.Succeeded, &queue.Result{Stdout: "out"} })
}

// screen is a client's end of a stream, without a network.
type screen struct {
	header http.Header
	lines  *io.PipeReader
	into   *io.PipeWriter
	code   int
}

func (s *screen) Header() http.Header              { return s.header }
func (s *screen) WriteHeader(code int)             { s.code = code }
func (s *screen) Write(p []byte) (int, error)      { return s.into.Write(p) }
func (s *screen) Flush()                           {}
func (s *screen) SetWriteDeadline(time.Time) error { return nil }

type event struct{ name, id, data string }

// follow opens the stream and hands its events on; hang up ends it. after is the id of the last event seen.
func follow(api http.Handler, after string) (events <-chan event, hangUp func()) {
	return followAs(api, token, after)
}

func followAs(api http.Handler, who, after string) (events <-chan event, hangUp func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r := httptest.NewRequest("GET", ofTask+"/events", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+who)
	if after != "" {
		r.Header.Set("Last-Event-ID", after)
	}
	return open(api, r), cancel
}

func open(api http.Handler, r *http.Request) <-chan event {
	s := &screen{header: http.Header{}}
	s.lines, s.into = io.Pipe()
	go func() {
		api.ServeHTTP(s, r)
		s.into.Close()
	}()
	out := make(chan event, 100)
	go read(s.lines, out)
	return out
}

func read(from io.Reader, out chan<- event) {
	defer close(out)
	var e event
	for lines := bufio.NewScanner(from); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "event":
			e.name = value
		case "id":
			e.id = value
		case "data":
			e.data = value
		case "":
			if lines.Text() != "" {
				out <- event{name: "comment", data: value}
			} else if e.name != "" {
				out <- e
				e = event{}
			}
		}
	}
}

func expect(t *testing.T, events <-chan event, name, within string) event {
	t.Helper()
	e, open := <-events
	if !open || e.name != name || !strings.Contains(e.data, within) {
		t.Fatalf("got %+v (open: %v), want %s with %s", e, open, name, within)
	}
	return e
}

func ended(t *testing.T, events <-chan event) {
	t.Helper()
	if e, open := <-events; open {
		t.Fatalf("the stream went on with %+v", e)
	}
}

// stage is one task on an API, in a bubble of simulated time.
func stage(t *testing.T, o httpapi.Options, play func(t *testing.T, api *httpapi.API, task *live)) {
	synctest.Test(t, func(t *testing.T) {
		task := newLive()
		o.Tasks, o.Tailers = task, map[string]backend.Tailer{queue.RunnerBackend: task}
		api := newAPI(t, o)
		play(t, api, task)
	})
}

func TestATasksEventsFromItsBeginningToItsEnd(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		events, _ := follow(api, "")
		expect(t, events, "comment", "following")
		expect(t, events, "task", `"state":"Queued"`)
		task.run(1)
		expect(t, events, "task", `"place":"http://runner"`)
		task.write("one two three")
		expect(t, events, "log", `{"offset":0,"text":"one two "}`)
		expect(t, events, "log", `{"offset":8,"text":"three"}`)
		task.write(" four")
		task.succeed()
		expect(t, events, "log", `{"offset":13,"text":" four"}`)
		expect(t, events, "task", `"stdout":"out"`)
		expect(t, events, "end", `{"state":"Succeeded"}`)
		ended(t, events)
	})
}

func TestAStreamResumesWhereItWas(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		task.run(1)
		task.write("one two three")
		events, hangUp := follow(api, "")
		expect(t, events, "comment", "")
		expect(t, events, "task", "Running")
		seen := expect(t, events, "log", "one two")
		hangUp()
		for range events {
		}
		events, hangUp = follow(api, seen.id)
		expect(t, events, "comment", "")
		seen = expect(t, events, "log", `{"offset":8,"text":"three"}`)
		hangUp()
		for range events {
		}
		// Another attempt writes from the beginning.
		task.run(2)
		events, hangUp = follow(api, seen.id)
		expect(t, events, "comment", "")
		expect(t, events, "task", `"attempts":2`)
		expect(t, events, "log", `{"offset":0,"text":"one two "}`)
		hangUp()
		for range events {
		}
		for _, id := range []string{"x", "0000000000000000.1.99999999999999999999", "-1.-1.-1"} {
			events, hangUp = follow(api, id)
			expect(t, events, "comment", "")
			expect(t, events, "task", "")
			hangUp()
			for range events {
			}
		}
	})
}

func TestOneQuestionForAllThatIsWatchedAndNoneWithoutWatchers(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		time.Sleep(time.Minute)
		if task.looks != 0 {
			t.Errorf("looked %d times for nobody", task.looks)
		}
		var hangUps []func()
		for range 10 {
			events, hangUp := follow(api, "")
			hangUps = append(hangUps, hangUp)
			go func() {
				for range events {
				}
			}()
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if task.looks < 45 || task.looks > 60 || len(task.asked) != 1 {
			t.Errorf("looked %d times, for %v", task.looks, task.asked)
		}
		for _, hangUp := range hangUps {
			hangUp()
		}
		synctest.Wait()
		before := task.looks
		time.Sleep(time.Minute)
		if task.looks != before {
			t.Error("looks on though nobody watches")
		}
	})
}

func TestALocalChangeIsSeenAtOnce(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		events, hangUp := follow(api, "")
		defer hangUp()
		expect(t, events, "comment", "")
		expect(t, events, "task", "Queued")
		task.run(1)
		now := time.Now()
		api.Nudge(knownID)
		expect(t, events, "task", "Running")
		if waited := time.Since(now); waited != 0 {
			t.Errorf("seen after %v", waited)
		}
	})
}

func TestAStreamKeepsItselfAlive(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		events, hangUp := follow(api, "")
		defer hangUp()
		expect(t, events, "comment", "")
		expect(t, events, "task", "Queued")
		now := time.Now()
		expect(t, events, "comment", "")
		if waited := time.Since(now); waited > 15*time.Second {
			t.Errorf("quiet for %v", waited)
		}
	})
}

func TestWhoReadsSlowlyGetsTheLatest(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		r := httptest.NewRequest("GET", ofTask+"/events", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		s := &screen{header: http.Header{}}
		s.lines, s.into = io.Pipe()
		go api.ServeHTTP(s, r)
		for i := range 1000 {
			task.set(func(t *queue.Task) { t.SpentMS = int64(i) })
			time.Sleep(200 * time.Millisecond)
		}
		events := make(chan event, 2000)
		go read(s.lines, events)
		expect(t, events, "comment", "")
		n := 0
		for e := range events {
			if n++; strings.Contains(e.data, `"spent_ms":999`) {
				break
			}
		}
		if n > 3 {
			t.Errorf("%d events were kept for a client that did not read", n)
		}
		s.lines.Close()
	})
}

func TestStreamsAreBounded(t *testing.T) {
	stage(t, httpapi.Options{MaxStreams: 3}, func(t *testing.T, api *httpapi.API, task *live) {
		task.task.Spec.Tenant = "team-a"
		var hangUps []func()
		for _, who := range []string{token, "ann", "bob"} {
			events, hangUp := followAs(api, who, "")
			expect(t, events, "comment", "")
			hangUps = append(hangUps, hangUp)
		}
		if w := ask(api, "GET", ofTask+"/events", token); w.Code != 429 || w.Header().Get("Retry-After") == "" || errorCode(t, w) != "TooManyStreams" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		hangUps[0]()
		synctest.Wait()
		if w := ask(api, "GET", ofTask+"/events", "ann"); w.Code != 429 {
			t.Errorf("one client has them all: %d", w.Code)
		}
		events, hangUp := follow(api, "")
		expect(t, events, "comment", "following")
		hangUp()
		hangUps[1]()
		hangUps[2]()
	})
}

func TestATaskThatExpiresEndsItsStream(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		events, _ := follow(api, "")
		expect(t, events, "comment", "")
		expect(t, events, "task", "Queued")
		task.mu.Lock()
		task.gone = true
		task.mu.Unlock()
		expect(t, events, "end", "{}")
		ended(t, events)
	})
}

func TestCharactersAreNotTornApart(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		task.run(1)
		task.write("sevenab€ and é") // the euro sign's three bytes begin at the eighth
		events, hangUp := follow(api, "")
		defer hangUp()
		expect(t, events, "comment", "")
		expect(t, events, "task", "")
		var text strings.Builder
		for text.Len() < len("sevenab€ and é") {
			var piece httpapi.Log
			e := expect(t, events, "log", "")
			if err := json.Unmarshal([]byte(e.data), &piece); err != nil || piece.Offset != int64(text.Len()) {
				t.Fatalf("%+v: %v, after %d bytes", e, err, text.Len())
			}
			text.WriteString(piece.Text)
		}
		if text.String() != "sevenab€ and é" {
			t.Errorf("%q", text.String())
		}
	})
}

func TestCharactersAreNotTornApartAfterTheEnd(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		task.run(1)
		task.write("sevenab€ and \xe2\x82") // what is read at once ends within the euro sign; the last one never ends
		task.succeed()
		events, _ := follow(api, "")
		expect(t, events, "comment", "")
		expect(t, events, "log", `{"offset":0,"text":"sevenab"}`)
		expect(t, events, "log", `{"offset":7,"text":"€ and "}`)
		expect(t, events, "log", `{"offset":15,"text":"\ufffd\ufffd"}`)
		expect(t, events, "task", "Succeeded")
		expect(t, events, "end", "Succeeded")
		ended(t, events)
	})
}

func TestALogThatBeginsAnewIsShownFromItsBeginning(t *testing.T) {
	stage(t, httpapi.Options{}, func(t *testing.T, api *httpapi.API, task *live) {
		task.run(1)
		task.write("before")
		events, hangUp := follow(api, "")
		defer hangUp()
		expect(t, events, "comment", "")
		expect(t, events, "task", "")
		expect(t, events, "log", `{"offset":0,"text":"before"}`)
		task.mu.Lock()
		task.text = "anew"
		task.mu.Unlock()
		expect(t, events, "log", `{"offset":0,"text":"anew"}`)
		task.write(", and on")
		expect(t, events, "log", `{"offset":4,"text":", and on"}`)
	})
}

// The server gives a request a minute to be read; a stream takes longer. Its end comes with the server's.
func TestStreamsOutliveTheServersReadTimeoutButNotTheServer(t *testing.T) {
	task := newLive()
	api := newAPI(t, httpapi.Options{Tasks: task})
	server := httptest.NewUnstartedServer(api)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Config.RegisterOnShutdown(api.Close)
	server.Start()
	defer server.Close()
	response, err := http.DefaultTransport.RoundTrip(request(t, server.URL))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream" || response.StatusCode != 200 {
		t.Fatalf("%d %s", response.StatusCode, kind)
	}
	events := make(chan event, 100)
	go read(response.Body, events)
	expect(t, events, "comment", "following")
	for i := range 10 { // the poller's pace brings each change well after the timeout
		expect(t, events, "task", fmt.Sprintf(`"attempts":%d`, i))
		task.set(func(t *queue.Task) { t.Attempts++ })
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := server.Config.Shutdown(ctx); err != nil {
		t.Errorf("the server waits for its streams: %v", err)
	}
	for range events {
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func request(t *testing.T, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), "GET", url+ofTask+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}
