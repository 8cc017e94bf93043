package runner

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

const (
	defaultPause = time.Second // after a 429 without Retry-After
	maxPause     = time.Minute
	// maxMessage bounds what is kept of a runner's sentence, which may quote the task; every listing shows it.
	maxMessage = 1 << 10
)

// errLater says that a runner did not begin a task, so that asking again costs no attempt.
type errLater struct {
	after       time.Duration // it is full, and wants to be asked after that
	unreachable bool          // there was no connection
	forgotten   bool          // it does not hold the workspace any more
	crowded     bool          // all workspaces that it holds are in use, and there is no room for another
	cause       error
}

func (e *errLater) Error() string {
	switch {
	case e.unreachable:
		return fmt.Sprintf("no connection to the runner: %v", e.cause)
	case e.forgotten:
		return "the runner does not hold the workspace any more"
	case e.crowded:
		return "the runner has no room for the workspace now"
	}
	return fmt.Sprintf("the runner is full for %v", e.after)
}

// interpret tells the task's own end from faults of the infrastructure.
func interpret(status int, header http.Header, body []byte, noop bool) (*queue.Result, error) {
	switch {
	case status == http.StatusOK && noop:
		return nil, nil
	case status == http.StatusOK:
		return result(body)
	default:
		return nil, refusal(status, header, body)
	}
}

// refusal is what a reply other than success means.
func refusal(status int, header http.Header, body []byte) error {
	code, message := complaint(body)
	switch {
	case status == http.StatusTooManyRequests:
		return &errLater{after: retryAfter(header)}
	case status == http.StatusNotFound && code == "WorkspaceUnknown":
		return &errLater{forgotten: true}
	case status == http.StatusNotFound && code == "WorkspaceNotFound":
		return &backend.Fault{
			Code: codeFault, Message: "the runner is too old to know scratch workspaces; upgrade it",
			Cause: fmt.Errorf("status %d: %s", status, message),
		}
	case code == "DigestMismatch":
		return unavailable(fmt.Errorf("the archive is not what its name says: %s", message))
	case status >= 400 && status < 500 && status != http.StatusUnauthorized && status != http.StatusRequestTimeout,
		status == http.StatusInsufficientStorage: // no room for a fork of the workspace, ever
		if code == "" {
			code, message = "RunnerRefused", fmt.Sprintf("the runner refused the task with status %d", status)
		}
		return &backend.Rejected{Code: code, Message: message}
	}
	return &backend.Fault{
		Code: codeFault, Message: fmt.Sprintf("the runner answered with status %d", status),
		Cause:    fmt.Errorf("status %d: %.200q", status, body),
		Overload: status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout,
	}
}

// unsent is what a request without a reply means: nothing, where there was not even a connection.
func unsent(err error, message string) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return &errLater{unreachable: true, cause: err}
	}
	return &backend.Fault{Code: codeLost, Message: message, Cause: err}
}

func result(body []byte) (*queue.Result, error) {
	var out queue.Result
	err := json.Unmarshal(body, &out)
	if err == nil && out.Reason == "" {
		err = errors.New("no reason in the reply")
	}
	if err != nil {
		return nil, &backend.Fault{Code: codeFault, Message: "the runner's reply cannot be read", Cause: err}
	}
	// Nobody asked for it here: the runner was stopped under the command.
	if out.Reason == "Cancelled" {
		return nil, &backend.Fault{
			Code: codeLost, Message: "the runner was stopped during the attempt",
			Cause: errors.New("the runner reported the command as cancelled"),
		}
	}
	return &out, nil
}

// complaint is what a reply's error says; empty where it says nothing that can be read.
func complaint(body []byte) (code, message string) {
	var reply struct {
		Error queue.Fault `json:"error"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return "", ""
	}
	return cut(reply.Error.Code), cut(reply.Error.Message)
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
