// Package runner runs tasks on env runners over HTTP (contracts/http/env-runner.yaml).
package runner

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/telemetry"
)

const (
	// maxReply bounds a reply: two streams of at most 1 MiB, six bytes per escaped one, and the rest.
	maxReply = 13 << 20
	// replyGrace is what a runner gets beyond a task's own timeout to stop it and answer.
	replyGrace = 10 * time.Second
	// fencingVariable tells the command its attempt's token, for what it writes to elsewhere.
	fencingVariable = "DSPY_FENCING_TOKEN"
	taskVariable    = "DSPY_TASK_ID" // with which a command names itself as its children's parent
	// scratch asks for an empty workspace of the command's own: many users' tasks share a runner, and what one leaves
	// in its main workspace another one would find, and run.
	scratch = "scratch"
)

// The codes of the faults that are a runner's own.
const (
	codeLost  = "RunnerLost"
	codeFault = "RunnerFault"
)

// execRequest is the body of POST /v1/exec.
type execRequest struct {
	Argv             []string          `json:"argv"`
	Cwd              string            `json:"cwd,omitempty"`
	Env              map[string]string `json:"env,omitempty"`
	Stdin            string            `json:"stdin,omitempty"`
	TimeoutMS        int64             `json:"timeout_ms"`
	OutputLimitBytes int64             `json:"output_limit_bytes"`
	Workspace        string            `json:"workspace,omitempty"`
}

// info is what the pool uses of the reply of GET /v1/info.
type info struct {
	MaxConcurrent int     `json:"max_concurrent"`
	Running       int     `json:"running"`
	Waiting       int     `json:"waiting"`
	Pressure      float64 `json:"pressure"`
	// PressureSource is who tells; "running" where no kernel does, and commands per processor stand for it.
	PressureSource string `json:"pressure_source"`
	// Workspaces are those used last; nil for a runner that does not tell. WorkspacesHeld counts all.
	Workspaces     []string `json:"workspaces"`
	WorkspacesHeld int      `json:"workspaces_held"`
}

// countedSource is the PressureSource of a runner whose kernel tells nothing.
const countedSource = "running"

// fullPressure is that of a runner that has as much to do as it takes, where nothing tells how well that goes: no reason
// to give it more, nor less.
const fullPressure = 0.95

// pressureNow is from 0 to 1. Where commands are counted it is the share of those that the runner takes: that there are
// more of them than processors says nothing, for they may wait for a network.
func (i info) pressureNow() float64 {
	if i.PressureSource == countedSource && i.MaxConcurrent > 0 {
		return min(float64(i.Running)/float64(i.MaxConcurrent), fullPressure)
	}
	return min(max(i.Pressure, 0), 1)
}

// client speaks to any runner; which one is an argument.
type client struct {
	http  *http.Client
	token string
}

// exec runs a task on one runner. Errors: *errLater, *backend.Rejected, *backend.Fault.
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
	telemetry.Inject(ctx, req.Header)
	status, header, reply, err := c.do(req)
	if err != nil {
		return nil, unsent(err, "the runner stopped answering during the attempt")
	}
	return interpret(status, header, reply, task.Spec.Noop)
}

func execBody(a backend.Attempt) execRequest {
	spec := a.Task.Spec
	env := map[string]string{}
	maps.Copy(env, spec.Env)
	env[fencingVariable], env[taskVariable] = strconv.FormatInt(a.Token, 10), a.Task.ID
	return execRequest{
		Argv: spec.Argv, Cwd: spec.Cwd, Env: env, Stdin: spec.Stdin,
		TimeoutMS: spec.TimeoutMS, OutputLimitBytes: spec.OutputLimitBytes,
		Workspace: cmp.Or(spec.Workspace, scratch),
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
