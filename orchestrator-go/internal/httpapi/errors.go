package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"dspyagent.io/orchestrator/internal/queue"
)

// retryAfterSeconds is what a client is asked to wait where only time helps.
const retryAfterSeconds = "5"

// Error is the body of every failed request.
type Error struct {
	status int
	header http.Header
	Detail ErrorDetail `json:"error"`
}

// ErrorDetail says what went wrong and what to do.
type ErrorDetail struct {
	Code    string `json:"code" doc:"CamelCase, stable."`
	Message string `json:"message" doc:"A sentence that says what to do."`
}

func (e *Error) Error() string  { return e.Detail.Code + ": " + e.Detail.Message }
func (e *Error) GetStatus() int { return e.status }

// GetHeaders implements huma.HeadersError.
func (e *Error) GetHeaders() http.Header { return e.header }

func fail(status int, code, message string) *Error {
	return &Error{status: status, Detail: ErrorDetail{code, message}}
}

// failForNow is a failure that passes: the same request may succeed a little later.
func failForNow(status int, code, message string) *Error {
	e := fail(status, code, message)
	e.header = http.Header{"Retry-After": {retryAfterSeconds}}
	return e
}

// newError gives huma's own errors (schema violations, sizes) our shape.
func newError(status int, message string, causes ...error) huma.StatusError {
	code := map[int]string{
		http.StatusBadRequest: "BadRequest", http.StatusRequestEntityTooLarge: "TooLarge",
		http.StatusUnprocessableEntity: "Invalid", http.StatusUnsupportedMediaType: "UnsupportedMediaType",
	}[status]
	if code == "" {
		code = strings.ReplaceAll(http.StatusText(status), " ", "")
	}
	if status < 500 && len(causes) > 0 && causes[0] != nil {
		message += ": " + causes[0].Error()
	}
	return fail(status, code, message)
}

// explain turns an error of the queue into one for clients; causes of ours go to the log only.
func (a *API) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, queue.ErrNotFound):
		return fail(404, "TaskNotFound", "There is no such task; it may have expired. List the tasks to see those that are kept.")
	case errors.Is(err, queue.ErrFinished):
		return fail(409, "AlreadyFinished", "The task has finished; read it to see its outcome.")
	case errors.Is(err, queue.ErrNotDead):
		return fail(409, "NotDead", "The task is not a dead letter; only those can be put back.")
	case errors.Is(err, queue.ErrIdempotencyConflict):
		return fail(409, "IdempotencyConflict", "The idempotency key belongs to a different task; use a new key.")
	case errors.Is(err, queue.ErrQueueFull):
		return failForNow(429, "QueueFull", "As many tasks wait as the queue may hold, and nothing was added; send the request again in a few seconds.")
	case errors.Is(err, queue.ErrParentEnded):
		return fail(409, "ParentEnded", "The parent has ended or was closed, and takes no more children; send the task without it or with another.")
	case errors.Is(err, queue.ErrParentNotFound):
		return fail(422, "ParentNotFound", "There is no such parent task of this tenant; it may have expired.")
	case errors.Is(err, queue.ErrNotScope):
		return fail(409, "NotScope", "The task is no open scope; only those can be closed. Cancel it instead.")
	case errors.Is(err, queue.ErrTooLarge):
		return tooLarge()
	case errors.Is(err, queue.ErrBadCursor):
		return fail(400, "BadCursor", "The cursor is not one that a listing returned; list again without it.")
	}
	a.Log.ErrorContext(ctx, "a request failed", "error", err)
	return failForNow(503, "StoreUnavailable", "The task store does not answer; try again in a few seconds.")
}

func tooLarge() *Error {
	return fail(413, "TooLarge", fmt.Sprintf("A task may take %d MiB as JSON; send less in argv, env and stdin.", queue.MaxTaskBytes>>20))
}

func write(w http.ResponseWriter, err *Error) {
	for name, values := range err.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(err.status)
	// Two strings can always be encoded: when this fails the client has gone, and nobody is left to tell.
	_ = json.NewEncoder(w).Encode(err)
}
