package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/telemetry"
)

const maxBatch = 10_000

func submitOperation(api huma.API) huma.Operation {
	op := operation("submit-tasks", http.MethodPost, "/v1/tasks", http.StatusAccepted,
		fmt.Sprintf("Enqueue one task, or a batch of at most %d", maxBatch), 403, 409, 413, 429)
	op.Description = "What was answered with 202 is stored durably. 429 means that the queue is full and nothing was " +
		"added: send the request again after Retry-After seconds. An orchestrator that is stopping still takes tasks."
	one, many := submitSchemas(api.OpenAPI().Components.Schemas)
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: &huma.Schema{OneOf: []*huma.Schema{one, many}}},
	}}
	op.SkipValidateBody = true // parse checks itself: of a oneOf, huma could only say that neither matched
	return op
}

func submitSchemas(r huma.Registry) (one, many *huma.Schema) {
	one = r.Schema(reflect.TypeFor[TaskSpec](), true, "")
	fewest, most := 1, maxBatch
	tasks := &huma.Schema{Type: huma.TypeArray, Items: one, MinItems: &fewest, MaxItems: &most}
	many = &huma.Schema{
		Type: huma.TypeObject, Description: "A batch, stored all or none.", Required: []string{"tasks"},
		AdditionalProperties: false, Properties: map[string]*huma.Schema{"tasks": tasks},
	}
	tasks.PrecomputeMessages()
	many.PrecomputeMessages()
	return one, many
}

func (a *API) submit(ctx context.Context, in *struct {
	RawBody []byte `contentType:"application/json"`
}) (*output[Accepted], error) {
	specs, batch, err := parse(in.RawBody)
	if err != nil {
		return nil, err
	}
	subs, err := a.submissions(ctx, specs, time.Now())
	if err != nil {
		return nil, err
	}
	ids, err := a.enqueue(ctx, subs)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	if batch {
		return &output[Accepted]{Accepted{IDs: ids}}, nil
	}
	return &output[Accepted]{Accepted{ID: ids[0]}}, nil
}

// submissions are the tasks with the tenant that each is to have.
func (a *API) submissions(ctx context.Context, specs []TaskSpec, now time.Time) ([]queue.Submission, error) {
	subs, owners := make([]queue.Submission, len(specs)), map[string]string{}
	for i, s := range specs {
		if err := s.check(now); err != nil {
			return nil, fail(422, "Invalid", fmt.Sprintf("Task %d: %v.", i, err))
		}
		owner, asked := owners[s.Tenant]
		if !asked {
			var err error
			if owner, err = a.owner(ctx, s.Tenant); err != nil {
				return nil, err
			}
			owners[s.Tenant] = owner
		}
		if err := a.mayRunOn(s.Backend, owner); err != nil {
			return nil, err
		}
		subs[i] = queue.Submission{Spec: s.spec(owner, now)}
	}
	return subs, nil
}

// enqueue stores the tasks with the trace that their attempts will go on with.
func (a *API) enqueue(ctx context.Context, subs []queue.Submission) (ids []string, err error) {
	ctx, span := telemetry.Begin(ctx, "enqueue", trace.SpanKindProducer, attribute.Int("dspyagent.tasks", len(subs)))
	defer func() { telemetry.End(span, err) }()
	parent := telemetry.Traceparent(ctx)
	for i := range subs {
		subs[i].Traceparent = parent
	}
	return a.Tasks.Enqueue(ctx, subs)
}
