// Package httpapi is the orchestrator's HTTP interface. The code is the source of its
// contract: OpenAPI prints what contracts/http/orchestrator.yaml holds.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"dspyagent.io/orchestrator/internal/queue"
)

// Version is that of the API and the program.
const Version = "0.1.0"

// Tasks is what the API needs of a queue.
type Tasks interface {
	Enqueue(ctx context.Context, subs []queue.Submission) ([]string, error)
	Get(ctx context.Context, id string) (queue.Task, error)
	List(ctx context.Context, state queue.State, limit int, cursor string) (queue.Page, error)
	Cancel(ctx context.Context, id string) (queue.Task, error)
	DeadLetters(ctx context.Context, limit int, cursor string) (queue.Page, error)
	Revive(ctx context.Context, id string) (queue.Task, error)
}

// Canceller stops an attempt that runs in this process at once.
type Canceller interface{ Cancel(id string) }

// API serves /v1.
type API struct {
	tasks     Tasks
	canceller Canceller
	log       *slog.Logger
}

// New returns the handler of /v1, behind the bearer token.
func New(tasks Tasks, canceller Canceller, token string, log *slog.Logger) http.Handler {
	a := &API{tasks: tasks, canceller: canceller, log: log.With("component", "httpapi")}
	mux := http.NewServeMux()
	a.register(mux)
	return a.traced(authenticated(token, limited(mux)))
}

// OpenAPI is the contract in YAML.
func OpenAPI() ([]byte, error) {
	a := &API{log: slog.New(slog.DiscardHandler)}
	return a.register(http.NewServeMux()).OpenAPI().YAML()
}

func (a *API) register(mux *http.ServeMux) huma.API {
	huma.NewError, huma.DefaultArrayNullable = newError, false
	config := huma.DefaultConfig("DSPy Agent orchestrator", Version)
	config.Info.Description = "A durable task queue over env runners. Every task ends in exactly one recorded outcome; " +
		"it may be attempted more than once when the infrastructure fails."
	config.DocsPath, config.OpenAPIPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"bearer": {}}}
	api := humago.New(mux, config)

	submit := operation("submit-tasks", http.MethodPost, "/v1/tasks", http.StatusAccepted,
		"Enqueue one task, or a batch of at most 1000", 409, 413, 429)
	submit.Description = "What was answered with 202 is stored durably. 429 means that the queue is full and nothing was " +
		"added: send the request again after Retry-After seconds. An orchestrator that is stopping still takes tasks."
	submit.SkipValidateBody = true // submitBody checks itself
	huma.Register(api, submit, a.submit)
	huma.Register(api, operation("list-tasks", http.MethodGet, "/v1/tasks", http.StatusOK,
		"List tasks, newest first"), a.list)
	huma.Register(api, operation("get-task", http.MethodGet, "/v1/tasks/{id}", http.StatusOK,
		"Read one task", 404), a.get)
	huma.Register(api, operation("cancel-task", http.MethodPost, "/v1/tasks/{id}/cancel", http.StatusOK,
		"Cancel a task, queued or running", 404, 409), a.cancel)
	huma.Register(api, operation("list-dead-letters", http.MethodGet, "/v1/dead-letters", http.StatusOK,
		"List the tasks whose attempts ran out, newest first"), a.deadLetters)
	huma.Register(api, operation("retry-dead-letter", http.MethodPost, "/v1/dead-letters/{id}/retry", http.StatusOK,
		"Put a dead letter back into the queue", 404, 409), a.retry)
	return api
}

func operation(id, method, path string, status int, summary string, failures ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status,
		Errors: append([]int{400, 401, 422, 503}, failures...), MaxBodyBytes: maxBody,
	}
}
