package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

const (
	keepAliveEvery = 15 * time.Second
	logEvery       = 500 * time.Millisecond
	tailTimeout    = 5 * time.Second
	// streamFor bounds a stream, and so for how long a token is good that was withdrawn meanwhile.
	streamFor = 30 * time.Minute
)

// Log is a piece of what a running task wrote.
type Log struct {
	Offset int64  `json:"offset" doc:"Of the text, in bytes; from 0 again with each attempt, and where Slurm requeued the job."`
	Text   string `json:"text"`
}

// End is the last event of a task.
type End struct {
	State queue.State `json:"state,omitempty" doc:"The task's last; absent when it has expired."`
}

func eventsOperation(api huma.API) huma.Operation {
	op := operation("task-events", http.MethodGet, "/v1/tasks/{id}/events", http.StatusOK, "Follow one task, as server-sent events", 404, 429)
	op.Description = "`task` comes with the task's JSON whenever what it shows has changed, `log` with what it writes where the " +
		"backend can tell, `end` after its end. A stream that ends without `end` is to be opened again, with Last-Event-ID."
	schemas := api.OpenAPI().Components.Schemas
	event := func(name string, data reflect.Type) *huma.Schema {
		return &huma.Schema{Type: huma.TypeObject, Required: []string{"event", "data"}, Properties: map[string]*huma.Schema{
			"event": {Type: huma.TypeString, Enum: []any{name}}, "id": {Type: huma.TypeString}, "data": schemas.Schema(data, true, ""),
		}}
	}
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A stream of these events.",
		Content: map[string]*huma.MediaType{eventStream: {Schema: &huma.Schema{OneOf: []*huma.Schema{
			event("task", reflect.TypeFor[Task]()), event("log", reflect.TypeFor[Log]()), event("end", reflect.TypeFor[End]()),
		}}}},
	}}
	return op
}

func (a *API) events(ctx context.Context, in *struct {
	ByID
	After string `header:"Last-Event-ID" maxLength:"64" doc:"The id of the last event that was received: the stream goes on after it."`
}) (*huma.StreamResponse, error) {
	if _, err := a.reach(ctx, auth.Read, in.ID); err != nil {
		return nil, err
	}
	one, ok := a.watch.add(in.ID, principal(ctx).Name)
	if !ok {
		return nil, failForNow(429, "TooManyStreams", "As many streams of events are open as this replica serves, or serves one client; try again in a few seconds, or read the task now and then.")
	}
	return &huma.StreamResponse{Body: func(h huma.Context) {
		defer a.watch.remove(one)
		r, w := humago.Unwrap(h)
		ctx, cancel := context.WithTimeout(r.Context(), streamFor)
		defer cancel()
		s := &stream{api: a, watcher: one, out: newSSE(w), at: readPlace(in.After)}
		if err := s.run(ctx); err != nil && ctx.Err() == nil {
			a.Log.DebugContext(ctx, "a stream of events ended", "task", in.ID, "error", err)
		}
	}}, nil
}

// place is how far a stream has come: what it showed of the task, and of which attempt's log. It is the events' id,
// so that any replica can go on.
type place struct {
	shown   string // hash of the task's JSON
	attempt int
	offset  int64
}

var placeForm = regexp.MustCompile(`^([0-9a-f]{16})?\.([0-9]{1,9})\.([0-9]{1,18})$`)

// readPlace is the beginning for anything that is not the id of an event.
func readPlace(id string) place {
	parts := placeForm.FindStringSubmatch(id)
	if parts == nil {
		return place{}
	}
	attempt, _ := strconv.Atoi(parts[2])            // digits that fit
	offset, _ := strconv.ParseInt(parts[3], 10, 64) // likewise
	return place{parts[1], attempt, offset}
}

func (p place) String() string { return fmt.Sprintf("%s.%d.%d", p.shown, p.attempt, p.offset) }

func digest(shown string) string {
	sum := sha256.Sum256([]byte(shown))
	return hex.EncodeToString(sum[:8])
}

// stream sends one task's events to one client.
type stream struct {
	api     *API
	watcher *watcher
	out     *sse
	at      place
}

// run returns when the task has ended and all was said, or with what was in the way.
func (s *stream) run(ctx context.Context) error {
	if err := s.out.comment("following " + s.watcher.id); err != nil {
		return err
	}
	alive, logs := time.NewTicker(keepAliveEvery), time.NewTicker(logEvery)
	defer alive.Stop()
	defer logs.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.api.watch.closed:
			return s.out.comment("closing; open it again")
		case <-alive.C:
			err = s.out.comment("")
		case <-logs.C:
			if seen := s.watcher.latest(); seen.found && seen.task.State == queue.Running {
				_, err = s.log(ctx, seen.task)
			}
		case <-s.watcher.changed:
			var ended bool
			if ended, err = s.show(ctx, s.watcher.latest()); ended {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}

// show sends what the task is now, and after its last state the end.
func (s *stream) show(ctx context.Context, seen sight) (ended bool, err error) {
	if !seen.found {
		return true, s.out.event("end", s.at.String(), End{})
	}
	for more := seen.task.State.Terminal() || seen.task.State == queue.Waiting; more; {
		if more, err = s.log(ctx, seen.task); err != nil {
			return true, err
		}
	}
	if !seen.task.State.Terminal() {
		return false, s.task(seen.task, seen.shown)
	}
	// With its result, which looking at many tasks leaves out.
	full, err := s.api.Tasks.Get(ctx, s.watcher.id)
	if err != nil || !full.State.Terminal() { // somebody has put it back meanwhile
		return err != nil, err
	}
	if err := s.task(present(full), seen.shown); err != nil {
		return true, err
	}
	return true, s.out.event("end", s.at.String(), End{full.State})
}

func (s *stream) task(task Task, shown string) error {
	if shown != s.at.shown {
		s.at.shown = shown
		return s.out.event("task", s.at.String(), task)
	}
	return nil
}

// log sends the next piece of what the task wrote, and says whether there may be more now. That a log cannot be read
// is no reason to end a stream that has the task's states to tell.
func (s *stream) log(ctx context.Context, task Task) (more bool, err error) {
	tailer := s.api.Tailers[task.Backend]
	if tailer == nil || task.Attempts == 0 {
		return false, nil
	}
	if s.at.attempt != task.Attempts {
		s.at.attempt, s.at.offset = task.Attempts, 0
	}
	chunk, next, err := tail(ctx, tailer, task, s.at.offset)
	if err != nil {
		s.api.Log.DebugContext(ctx, "cannot read a task's log", "task", task.ID, "error", err)
		return false, nil
	}
	if len(chunk) == 0 {
		return false, nil
	}
	// Of a task that writes no more, a character without its end is shown once nothing else is left.
	if text, upTo := whole(chunk, next); len(text) > 0 || task.State == queue.Running {
		chunk, next = text, upTo
	}
	piece := Log{Offset: next - int64(len(chunk)), Text: string(chunk)} // a log that begins anew is read from 0
	s.at.offset = next
	if piece.Text == "" {
		return false, nil
	}
	return true, s.out.event("log", s.at.String(), piece)
}

func tail(ctx context.Context, tailer backend.Tailer, task Task, offset int64) ([]byte, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, tailTimeout)
	defer cancel()
	return tailer.Tail(ctx, queue.Task{
		ID: task.ID, State: task.State, Attempts: task.Attempts, Place: task.Place,
		Spec: queue.Spec{Backend: task.Backend, Tenant: task.Tenant},
	}, offset)
}
