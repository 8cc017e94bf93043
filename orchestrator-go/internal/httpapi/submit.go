package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"dspyagent.io/orchestrator/internal/queue"
	"dspyagent.io/orchestrator/internal/telemetry"
)

const maxBatch = 1000

// submitBody is one task, or several under "tasks".
type submitBody struct {
	specs []TaskSpec
	batch bool
	fault error // the first violation of the schema
}

// UnmarshalJSON tells the forms apart by the key "tasks", and checks the one that was meant:
// of a oneOf, huma could only say that neither matched.
func (b *submitBody) UnmarshalJSON(data []byte) error {
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return err
	}
	object, _ := value.(map[string]any)
	_, b.batch = object["tasks"]
	known := schemas()
	schema := known.one
	if b.batch {
		schema = known.many
	}
	var found huma.ValidateResult
	huma.Validate(known.registry, schema, huma.NewPathBuffer([]byte("body"), 4), huma.ModeWriteToServer, value, &found)
	if len(found.Errors) > 0 {
		b.fault = found.Errors[0]
		return nil
	}
	if b.batch {
		return json.Unmarshal(data, &struct {
			Tasks *[]TaskSpec `json:"tasks"`
		}{&b.specs})
	}
	b.specs = make([]TaskSpec, 1)
	return json.Unmarshal(data, &b.specs[0])
}

// Schema implements huma.SchemaProvider.
func (b *submitBody) Schema(r huma.Registry) *huma.Schema {
	one, many := submitSchemas(r)
	return &huma.Schema{OneOf: []*huma.Schema{one, many}}
}

type submitForms struct {
	registry  huma.Registry
	one, many *huma.Schema
}

// schemas are made once: they are read-only from then on.
var schemas = sync.OnceValue(func() submitForms {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	one, many := submitSchemas(registry)
	return submitForms{registry, one, many}
})

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

func (a *API) submit(ctx context.Context, in *struct{ Body submitBody }) (*output[Accepted], error) {
	if in.Body.fault != nil {
		return nil, newError(422, "The task does not fit the schema", in.Body.fault)
	}
	subs := make([]queue.Submission, len(in.Body.specs))
	for i, s := range in.Body.specs {
		if err := check(s); err != nil {
			return nil, fail(422, "Invalid", fmt.Sprintf("Task %d: %v.", i, err))
		}
		subs[i] = queue.Submission{Spec: s.spec(), Traceparent: telemetry.Traceparent(ctx)}
	}
	ids, err := a.tasks.Enqueue(ctx, subs)
	if err != nil {
		return nil, a.explain(ctx, err)
	}
	if in.Body.batch {
		return &output[Accepted]{Accepted{IDs: ids}}, nil
	}
	return &output[Accepted]{Accepted{ID: ids[0]}}, nil
}

// check holds what the schema cannot say.
func check(s TaskSpec) error {
	switch {
	case s.Noop && len(s.Argv) > 0:
		return errors.New("a noop takes no argv; leave one of them out")
	case !s.Noop && len(s.Argv) == 0:
		return errors.New("argv needs at least a program")
	case !s.Noop && s.Argv[0] == "":
		return errors.New("argv[0] is empty; name a program")
	}
	for _, arg := range append([]string{s.Cwd}, s.Argv...) {
		if strings.ContainsRune(arg, 0) {
			return errors.New("argv and cwd cannot hold NUL characters")
		}
	}
	for name, value := range s.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) {
			return errors.New(`env names must not be empty or hold "=", and nothing in env a NUL character`)
		}
	}
	return nil
}
