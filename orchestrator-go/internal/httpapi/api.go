// Package httpapi is the orchestrator's HTTP interface. The code is the source of its
// contract: OpenAPI prints what contracts/http/orchestrator.yaml holds.
package httpapi

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

// Version is that of the API and the program.
const Version = "0.1.0"

// Tasks is what the API needs of a queue.
type Tasks interface {
	Enqueue(ctx context.Context, subs []queue.Submission) ([]string, error)
	Get(ctx context.Context, id string) (queue.Task, error)
	// GetMany returns the tasks as listings show them, in any order, without those that do not exist.
	GetMany(ctx context.Context, ids []string) ([]queue.Task, error)
	List(ctx context.Context, filter queue.Filter, limit int, cursor string) (queue.Page, error)
	Cancel(ctx context.Context, id string) (queue.Task, error)
	CloseScope(ctx context.Context, id string) (queue.Task, error)
	DeadLetters(ctx context.Context, tenant string, limit int, cursor string) (queue.Page, error)
	Revive(ctx context.Context, id string) (queue.Task, error)
}

// Options are the API's parts.
type Options struct {
	Tasks Tasks
	Auth  auth.Authenticator
	Log   *slog.Logger
	// Tailers show what a running task writes, by the backend's name; a backend without one shows no log.
	Tailers map[string]backend.Tailer
	// Overview tells about the whole queue, or one tenant's part of it; nil for an API without.
	Overview func(ctx context.Context, tenant string) (Overview, error)
	// Metrics counts requests and streams; nil for nobody.
	Metrics prometheus.Registerer
	// SlurmTenants may use the backend slurm, as may whose tasks have no tenant; empty for everybody.
	SlurmTenants []string
	// MaxStreams bounds the streams of events that are open at once; 0 for 256.
	MaxStreams int
}

// API serves /v1.
type API struct {
	Options
	watch  *watch
	took   *prometheus.HistogramVec
	bodies *semaphore.Weighted
	http   http.Handler
}

// NewAPI returns the handler of /v1. Close it before the server is shut down: streams of events are open until then.
func NewAPI(o Options) *API {
	o.Log = o.Log.With("component", "httpapi")
	a := &API{
		Options: o, bodies: semaphore.NewWeighted(maxBodies),
		watch: newWatch(o.Tasks.GetMany, cmp.Or(o.MaxStreams, defaultStreams), o.Log),
	}
	a.measure()
	mux := http.NewServeMux()
	a.register(mux)
	a.http = a.traced(mux, a.authenticated(a.limited(mux)))
	return a
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.http.ServeHTTP(w, r) }

// Nudge has whoever watches the task see it at once: this process has just changed it.
func (a *API) Nudge(id string) { a.watch.nudge(id) }

// Close ends the streams of events; their clients resume elsewhere. Safe to call more than once.
func (a *API) Close() { a.watch.close() }

// OpenAPI is the contract in YAML.
func OpenAPI() ([]byte, error) {
	a := &API{Options: Options{Log: slog.New(slog.DiscardHandler)}}
	return a.register(http.NewServeMux()).OpenAPI().YAML()
}

func (a *API) register(mux *http.ServeMux) huma.API {
	huma.NewError, huma.DefaultArrayNullable = newError, false
	// Otherwise "Priority" would pass as a spelling of "priority" that no rule of the schema looks at.
	huma.ValidateStrictCasing = true
	config := huma.DefaultConfig("DSPy Agent orchestrator", Version)
	config.Info.Description = "A durable task queue over env runners and Slurm. Every task ends in exactly one recorded outcome; " +
		"it may be attempted more than once when the infrastructure fails. Clients other than admins see and change " +
		"their own tenant's tasks alone; those of others do not exist for them."
	config.DocsPath, config.OpenAPIPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}}
	config.Security = []map[string][]string{{"bearer": {}}}
	api := humago.New(mux, config)
	a.routes(api)
	return api
}

func (a *API) routes(api huma.API) {
	huma.Register(api, submitOperation(api), a.submit)
	huma.Register(api, operation("list-tasks", http.MethodGet, "/v1/tasks", http.StatusOK,
		"List tasks, newest first", 403), a.list)
	huma.Register(api, operation("get-task", http.MethodGet, "/v1/tasks/{id}", http.StatusOK,
		"Read one task", 404), a.get)
	huma.Register(api, operation("list-children", http.MethodGet, "/v1/tasks/{id}/children", http.StatusOK,
		"List a task's children, newest first", 404), a.children)
	huma.Register(api, eventsOperation(api), a.events)
	huma.Register(api, operation("cancel-task", http.MethodPost, "/v1/tasks/{id}/cancel", http.StatusOK,
		"Cancel a task, queued or running, with all its descendants", 403, 404, 409), a.cancel)
	huma.Register(api, operation("close-scope", http.MethodPost, "/v1/tasks/{id}/close", http.StatusOK,
		"Close a scope: it takes no more children, and ends after those it has", 403, 404, 409), a.closeScope)
	huma.Register(api, operation("list-dead-letters", http.MethodGet, "/v1/dead-letters", http.StatusOK,
		"List the tasks whose attempts ran out, newest first", 403), a.deadLetters)
	huma.Register(api, operation("retry-dead-letter", http.MethodPost, "/v1/dead-letters/{id}/retry", http.StatusOK,
		"Put a dead letter back into the queue", 403, 404, 409), a.retry)
	huma.Register(api, operation("get-queue", http.MethodGet, "/v1/queue", http.StatusOK,
		"How much waits and runs, of whom and where, and who leads", 403), a.showQueue)
}

func operation(id, method, path string, status int, summary string, failures ...int) huma.Operation {
	return huma.Operation{
		OperationID: id, Method: method, Path: path, Summary: summary, DefaultStatus: status,
		Errors: append([]int{400, 401, 422, 503}, failures...), MaxBodyBytes: maxBody,
	}
}
