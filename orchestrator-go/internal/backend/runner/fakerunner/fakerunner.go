// Package fakerunner is a fake of the env runner, for tests: it speaks the runner's HTTP
// contract and plays a handful of well-known programs without starting a process.
package fakerunner

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

// Token is what the fake accepts.
const Token = "runner-token-of-the-tests-0123456789"

// Runner is a fake env runner. Its URL is that of the server it embeds.
type Runner struct {
	*httptest.Server

	mu       sync.Mutex
	runs     map[string]int // by task id, admitted requests
	script   []Answer
	limit    int
	active   int
	ceased   chan string   // ids of requests whose client went away
	admitted chan struct{} // one per admitted request, when somebody listens
	headers  []http.Header
	hung     bool
	silent   bool
	checks   int
	pressure float64
	others   int
	held     map[string]bool
	uploads  map[string]int // by workspace, begun
	gate     chan struct{}  // where not nil, uploads end when it is closed
	sending  chan struct{}  // one per upload that began
}

// Answer replaces the fake's answer to one request; zero fields leave it alone.
type Answer struct {
	Status     int
	RetryAfter string
	Drop       bool // close the connection without an answer
}

type request struct {
	Argv      []string          `json:"argv"`
	Workspace string            `json:"workspace"`
	Env       map[string]string `json:"env"`
	Stdin     string            `json:"stdin"`
	TimeoutMS int64             `json:"timeout_ms"`
}

// Start returns a fake that takes limit requests at once and ends with the test.
func Start(t testing.TB, limit int) *Runner {
	r := &Runner{
		runs: map[string]int{}, limit: limit,
		ceased: make(chan string, 1024), admitted: make(chan struct{}, 1024),
		held: map[string]bool{}, uploads: map[string]int{}, sending: make(chan struct{}, 1024),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/info", r.info)
	mux.HandleFunc("POST /v1/noop", r.serve)
	mux.HandleFunc("POST /v1/exec", r.serve)
	mux.HandleFunc("PUT /v1/workspaces/{sha256}", r.receive)
	r.Server = httptest.NewServer(authenticated(mux))
	t.Cleanup(r.Close)
	return r
}

// Script queues answers for the next exec and noop requests.
func (r *Runner) Script(answers ...Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script = append(r.script, answers...)
}

// Runs is how often each task was admitted.
func (r *Runner) Runs() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]int, len(r.runs))
	for id, n := range r.runs {
		out[id] = n
	}
	return out
}

// Ceased receives the id of each task whose client went away while it ran.
func (r *Runner) Ceased() <-chan string { return r.ceased }

// Admitted receives something for each request that began to run.
func (r *Runner) Admitted() <-chan struct{} { return r.admitted }

// Hang makes the fake fail its checks from now on, while requests in flight go on.
func (r *Runner) Hang() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hung = true
}

// Recover makes the fake pass its checks again.
func (r *Runner) Recover() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hung, r.silent = false, false
}

// Checks is how often the fake was asked how it is.
func (r *Runner) Checks() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checks
}

// Silence makes the fake answer no checks from now on, as when its node has vanished.
func (r *Runner) Silence() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.silent = true
}

// Headers are those of the admitted requests.
func (r *Runner) Headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]http.Header(nil), r.headers...)
}

func authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Header.Get("Authorization") != "Bearer "+Token {
			reply(w, 401, map[string]any{"error": queue.Fault{Code: "Unauthorized", Message: "Send the token."}})
			return
		}
		next.ServeHTTP(w, req)
	})
}

func (r *Runner) info(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.checks++
	hung, silent := r.hung, r.silent
	about := r.about()
	r.mu.Unlock()
	switch {
	case silent:
		<-req.Context().Done()
	case hung:
		reply(w, 503, map[string]any{"error": queue.Fault{Code: "Hung", Message: "As the test asked."}})
	default:
		reply(w, 200, about)
	}
}

func (r *Runner) serve(w http.ResponseWriter, req *http.Request) {
	var body request
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		reply(w, 400, map[string]any{"error": queue.Fault{Code: "BadRequest", Message: "Send JSON."}})
		return
	}
	answer := r.admit(req)
	defer r.leave()
	// Tasks never run in the main workspace, which all of them would share.
	switch known := body.Workspace == "scratch" || r.Holds(body.Workspace); {
	case answer.Drop:
		panic(http.ErrAbortHandler)
	case answer.Status != 0:
		w.Header().Set("Retry-After", answer.RetryAfter)
		reply(w, answer.Status, map[string]any{"error": queue.Fault{Code: "Scripted", Message: "As the test asked."}})
	case strings.HasSuffix(req.URL.Path, "/noop"):
		reply(w, 200, struct{}{})
	case !known:
		reply(w, 404, map[string]any{"error": queue.Fault{Code: "WorkspaceUnknown", Message: "Send the workspace."}})
	default:
		r.play(w, req, body)
	}
}

func (r *Runner) admit(req *http.Request) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active++
	if r.active > r.limit {
		return Answer{Status: 429, RetryAfter: "0.01"}
	}
	r.headers = append(r.headers, req.Header)
	r.runs[req.Header.Get("X-Request-Id")]++
	select {
	case r.admitted <- struct{}{}:
	default:
	}
	if len(r.script) == 0 {
		return Answer{}
	}
	answer := r.script[0]
	r.script = r.script[1:]
	return answer
}

func (r *Runner) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active--
}

// play answers as the named program would.
func (r *Runner) play(w http.ResponseWriter, req *http.Request, body request) {
	out := queue.Result{Reason: "Completed", ExitCode: new(int), Isolation: []string{}}
	switch program := path.Base(body.Argv[0]); program {
	case "true":
	case "false":
		*out.ExitCode, out.Reason = 1, "NonZeroExit"
	case "echo":
		out.Stdout = strings.Join(body.Argv[1:], " ") + "\n"
	case "cat":
		out.Stdout = body.Stdin
	case "printenv":
		out.Stdout = body.Env[body.Argv[1]] + "\n"
	case "sleep":
		if !r.sleep(req, body, &out) {
			return
		}
	default:
		reply(w, 422, map[string]any{"error": queue.Fault{Code: "CannotStart", Message: program + " was not found."}})
		return
	}
	out.StdoutBytes = int64(len(out.Stdout))
	reply(w, 200, out)
}

// sleep reports false when the client went away.
func (r *Runner) sleep(req *http.Request, body request, out *queue.Result) bool {
	seconds, err := strconv.ParseFloat(body.Argv[1], 64)
	if err != nil {
		*out.ExitCode, out.Reason = 1, "NonZeroExit"
		return true
	}
	timeout := time.Duration(body.TimeoutMS) * time.Millisecond
	wait := time.Duration(seconds * float64(time.Second))
	if timeout < wait {
		out.ExitCode, out.Signal, out.Reason = nil, new(int), "TimedOut"
		*out.Signal = 9
	}
	timer := time.NewTimer(min(timeout, wait))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-req.Context().Done():
		r.ceased <- req.Header.Get("X-Request-Id")
		return false
	}
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The tests close connections under the fake; it has nobody to tell.
	_ = json.NewEncoder(w).Encode(body)
}
