// Package runner runs tasks on env runners over HTTP (contracts/http/env-runner.yaml).
package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/telemetry"
)

const (
	// maxReply bounds a reply: two streams of at most 1 MiB, six bytes per escaped one, and the rest.
	maxReply = 13 << 20
	// replyGrace is what a runner gets beyond a task's own timeout to stop it and answer.
	replyGrace   = 10 * time.Second
	defaultPause = time.Second // after a 429 without Retry-After
	maxPause     = time.Minute
	// maxMessage bounds what is kept of a runner's sentence, which may quote the task; every listing shows it.
	maxMessage = 1 << 10
	// fencingVariable tells the command its attempt's token, for what it writes to elsewhere.
	fencingVariable = "DSPY_FENCING_TOKEN"
)

// errBusy is a runner's 429; after is when it wants to be asked again.
type errBusy struct{ after time.Duration }

func (e *errBusy) Error() string { return fmt.Sprintf("the runner is full for %v", e.after) }

// execRequest is the body of POST /v1/exec.
type execRequest struct {
	Argv             []string          `json:"argv"`
	Cwd              string            `json:"cwd,omitempty"`
	Env              map[string]string `json:"env,omitempty"`
	Stdin            string            `json:"stdin,omitempty"`
	TimeoutMS        int64             `json:"timeout_ms"`
	OutputLimitBytes int64             `json:"output_limit_bytes"`
}

// info is what the pool uses of the reply of GET /v1/info.
type info struct {
	MaxConcurrent int `json:"max_concurrent"`
}

// client speaks to any runner; which one is an argument.
type client struct {
	http  *http.Client
	token string
}

// exec runs a task on one runner. Errors: *errBusy, *backend.Rejected, *backend.Fault.
func (c *client) exec(ctx context.Context, base string, a backend.Attempt) (*queue.Result, error) {
	task := a.Task
	ctx, cancel := context.WithTimeout(ctx, time.Duration(task.Spec.TimeoutMS)*time.Millisecond+replyGrace)
	defer cancel()
	path, body := "/v1/noop", []byte("{}")
	if !task.Spec.Noop {
		var err error
		path = "/v1/exec"
		if body, err = json.Marshal(execBody(a)); err != nil {
			return nil, &backend.Fault{Code: "Internal", Message: "the task cannot be sent to a runner", Cause: err}
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+path, bytes.NewReader(body))
	if err != nil {
		return nil, &backend.Fault{Code: "Internal", Message: "the task cannot be sent to a runner", Cause: err}
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-Request-Id", task.ID)
	req.Header.Set("X-Fencing-Token", strconv.FormatInt(a.Token, 10))
	telemetry.Propagate(req.Header, task.Traceparent)
	status, header, reply, err := c.do(req)
	if err != nil {
		return nil, &backend.Fault{Code: "RunnerLost", Message: "the runner stopped answering during the attempt", Cause: err}
	}
	return interpret(status, header, reply, task.Spec.Noop)
}

func execBody(a backend.Attempt) execRequest {
	spec := a.Task.Spec
	env := map[string]string{}
	maps.Copy(env, spec.Env)
	env[fencingVariable] = strconv.FormatInt(a.Token, 10)
	return execRequest{
		Argv: spec.Argv, Cwd: spec.Cwd, Env: env, Stdin: spec.Stdin,
		TimeoutMS: spec.TimeoutMS, OutputLimitBytes: spec.OutputLimitBytes,
	}
}

// info asks a runner how it is, with the token, so that a wrong one shows.
func (c *client) info(ctx context.Context, base string) (info, error) {
	var out info
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/v1/info", nil)
	if err != nil {
		return out, fmt.Errorf("asking the runner: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	status, _, reply, err := c.do(req)
	if err != nil {
		return out, err
	}
	if status != http.StatusOK {
		return out, fmt.Errorf("GET /v1/info answered %d", status)
	}
	if err := json.Unmarshal(reply, &out); err != nil {
		return out, fmt.Errorf("reading /v1/info: %w", err)
	}
	return out, nil
}

func (c *client) do(req *http.Request) (status int, header http.Header, body []byte, err error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxReply+1))
	if err == nil && len(body) > maxReply {
		err = fmt.Errorf("the reply is longer than %d bytes", maxReply)
	}
	return resp.StatusCode, resp.Header, body, err
}

// interpret tells the task's own end from faults of the infrastructure.
func interpret(status int, header http.Header, body []byte, noop bool) (*queue.Result, error) {
	switch {
	case status == http.StatusOK && noop:
		return nil, nil
	case status == http.StatusOK:
		return result(body)
	case status == http.StatusTooManyRequests:
		return nil, &errBusy{retryAfter(header)}
	case status >= 400 && status < 500 && status != http.StatusUnauthorized && status != http.StatusRequestTimeout:
		return nil, rejection(status, body)
	}
	return nil, &backend.Fault{
		Code: "RunnerFault", Message: fmt.Sprintf("the runner answered with status %d", status),
		Cause: fmt.Errorf("status %d: %.200q", status, body),
	}
}

func result(body []byte) (*queue.Result, error) {
	var out queue.Result
	err := json.Unmarshal(body, &out)
	if err == nil && out.Reason == "" {
		err = errors.New("no reason in the reply")
	}
	if err != nil {
		return nil, &backend.Fault{Code: "RunnerFault", Message: "the runner's reply cannot be read", Cause: err}
	}
	// Nobody asked for it here: the runner was stopped under the command.
	if out.Reason == "Cancelled" {
		return nil, &backend.Fault{
			Code: "RunnerLost", Message: "the runner was stopped during the attempt",
			Cause: errors.New("the runner reported the command as cancelled"),
		}
	}
	return &out, nil
}

func rejection(status int, body []byte) *backend.Rejected {
	var reply struct {
		Error queue.Fault `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil || reply.Error.Code == "" {
		return &backend.Rejected{Code: "RunnerRefused", Message: fmt.Sprintf("the runner refused the task with status %d", status)}
	}
	return &backend.Rejected{Code: cut(reply.Error.Code), Message: cut(reply.Error.Message)}
}

// cut shortens a text of a runner, between two characters.
func cut(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
}

func retryAfter(header http.Header) time.Duration {
	seconds, err := strconv.ParseFloat(header.Get("Retry-After"), 64)
	if err != nil || seconds < 0 {
		return defaultPause
	}
	return min(time.Duration(seconds*float64(time.Second)), maxPause)
}
