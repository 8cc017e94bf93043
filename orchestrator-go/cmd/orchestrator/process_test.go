package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/httpapi"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

const (
	apiToken = "api-token-of-the-tests"
	patience = time.Minute
)

var binary string

// TestMain builds the program once; the tests run it as users do.
func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "orchestrator-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	binary = filepath.Join(dir, "orchestrator")
	if out, err := exec.Command("go", "build", "-race", "-o", binary, ".").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// process is an orchestrator in a process of its own.
type process struct {
	base string
	argv []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

func start(t *testing.T, store *queuetest.Server, runnerURL string, flags ...string) *process {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	p := &process{base: "http://" + addr, log: &bytes.Buffer{}, argv: append([]string{
		"serve", "--listen", addr, "--reddb", store.URL(), "--runners", runnerURL,
		"--runner-token-file", file(t, dir, "runner", fakerunner.Token), "--token-file", file(t, dir, "token", apiToken),
	}, flags...)}
	if store.Token != "" {
		p.argv = append(p.argv, "--reddb-token-file", store.TokenFile)
	}
	t.Cleanup(func() {
		if p.cmd != nil {
			p.kill(t)
		}
		if t.Failed() {
			t.Logf("log of the orchestrator:\n%.20000s", p.log)
		}
	})
	p.launch(t)
	return p
}

func file(t *testing.T, dir, name, text string) string {
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *process) launch(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(binary, p.argv...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.awaitReady(t)
}

func (p *process) awaitReady(t *testing.T) { p.awaitProbe(t, http.StatusOK) }

func (p *process) awaitProbe(t *testing.T, status int) {
	t.Helper()
	queuetest.Eventually(t, patience, fmt.Sprintf("/readyz answers %d", status), func() bool {
		resp, err := http.Get(p.base + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == status
	})
}

// kill ends it as a crash would.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = p.cmd.Wait() // reports the kill
	p.cmd = nil
}

// terminate asks it to stop and checks that it does so in order.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGTERM)
	p.awaitExit(t)
}

func (p *process) signal(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
}

func (p *process) awaitExit(t *testing.T) {
	t.Helper()
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	p.cmd = nil
}

// call sends a request with the token and checks the status; into may be nil.
func (p *process) call(t *testing.T, method, path, body string, want int, into any) {
	t.Helper()
	status, text := p.send(t, method, path, body)
	if status != want {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
	if into != nil {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
}

func (p *process) send(t *testing.T, method, path, body string) (status int, reply []byte) {
	t.Helper()
	req, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiToken)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err = closing(resp, err); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, text
}

func closing(resp *http.Response, err error) error {
	if e := resp.Body.Close(); err == nil {
		return e
	}
	return err
}

func (p *process) submit(t *testing.T, body string) string {
	t.Helper()
	var got httpapi.Accepted
	p.call(t, "POST", "/v1/tasks", body, http.StatusAccepted, &got)
	return got.ID
}

// trySubmit sends a task that may be refused.
func (p *process) trySubmit(t *testing.T, body string) (id string, status int) {
	t.Helper()
	status, reply := p.send(t, "POST", "/v1/tasks", body)
	var got httpapi.Accepted
	if err := json.Unmarshal(reply, &got); err != nil {
		t.Fatal(err)
	}
	return got.ID, status
}

// submitSoon sends a task until the queue has room for it.
func (p *process) submitSoon(t *testing.T, body string) (id string) {
	t.Helper()
	queuetest.Eventually(t, patience, "the queue has room", func() bool {
		var status int
		id, status = p.trySubmit(t, body)
		return status == http.StatusAccepted
	})
	return id
}

// submitNoops sends n no-op tasks in batches and returns their ids.
func (p *process) submitNoops(t *testing.T, n int) []string {
	t.Helper()
	var ids []string
	for len(ids) < n {
		size := min(500, n-len(ids))
		var got httpapi.Accepted
		tasks := strings.TrimSuffix(strings.Repeat(`{"noop":true,"max_attempts":10},`, size), ",")
		p.call(t, "POST", "/v1/tasks", `{"tasks":[`+tasks+`]}`, http.StatusAccepted, &got)
		ids = append(ids, got.IDs...)
	}
	return ids
}

func (p *process) get(t *testing.T, id string) httpapi.Task {
	t.Helper()
	var got httpapi.Task
	p.call(t, "GET", "/v1/tasks/"+id, "", http.StatusOK, &got)
	return got
}

func (p *process) await(t *testing.T, id string, state string) httpapi.Task {
	t.Helper()
	var got httpapi.Task
	queuetest.Eventually(t, patience, "task "+id+" is "+state, func() bool {
		got = p.get(t, id)
		return string(got.State) == state
	})
	return got
}

// list reads every task that the API still knows, by id.
func (p *process) list(t *testing.T, state string) map[string]httpapi.Task {
	t.Helper()
	all, cursor := map[string]httpapi.Task{}, ""
	for {
		var page httpapi.TaskPage
		p.call(t, "GET", "/v1/tasks?limit=500&state="+state+"&cursor="+cursor, "", http.StatusOK, &page)
		for _, task := range page.Tasks {
			all[task.ID] = task
		}
		if cursor = page.Cursor; cursor == "" {
			return all
		}
	}
}

// awaitLead waits until it leads.
func (p *process) awaitLead(t *testing.T) {
	t.Helper()
	queuetest.Eventually(t, patience, "it leads", func() bool { return p.metric(t, "dspy_orchestrator_leads") == "1" })
}

// metric is the value of a metric without labels; empty where there is none.
func (p *process) metric(t *testing.T, name string) string {
	t.Helper()
	_, text := p.send(t, "GET", "/metrics", "")
	for line := range strings.Lines(string(text)) {
		if value, found := strings.CutPrefix(line, name+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
