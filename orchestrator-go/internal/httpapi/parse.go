package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"dspyagent.io/orchestrator/internal/queue"
)

// parse reads one task, or several under the key "tasks". Of a batch, one task at a time is taken apart: a body that is
// not what it should be costs no more memory than its size.
func parse(body []byte) (specs []TaskSpec, batch bool, err error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return nil, false, notJSON(err)
	}
	others := 0
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return nil, batch, notJSON(err)
		}
		if key == "tasks" && !batch {
			batch = true
			specs, err = parseBatch(d)
		} else {
			others++
			err = d.Decode(new(json.RawMessage))
		}
		if err != nil {
			return nil, batch, notJSON(err)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, batch, notJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, batch, notJSON(errors.New("there is more after the object"))
	}
	if batch && others > 0 {
		return nil, batch, fail(422, "Invalid", "A batch has the key \"tasks\", once, and no other; say the rest in each task.")
	}
	if batch {
		return specs, batch, nil
	}
	one, err := parseOne(body, "body")
	return []TaskSpec{one}, false, err
}

func parseBatch(d *json.Decoder) ([]TaskSpec, error) {
	if first, err := d.Token(); err != nil || first != json.Delim('[') {
		return nil, fail(422, "Invalid", "\"tasks\" is an array of tasks.")
	}
	var specs []TaskSpec
	var raw json.RawMessage
	for d.More() {
		if len(specs) == maxBatch {
			return nil, fail(422, "Invalid", fmt.Sprintf("A batch holds at most %d tasks; send several.", maxBatch))
		}
		raw = raw[:0]
		if err := d.Decode(&raw); err != nil {
			return nil, err
		}
		spec, err := parseOne(raw, "body.tasks["+strconv.Itoa(len(specs))+"]")
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	if len(specs) == 0 {
		return nil, fail(422, "Invalid", "\"tasks\" is empty; send at least one.")
	}
	_, err := d.Token()
	return specs, err
}

type taskSchema struct {
	registry huma.Registry
	schema   *huma.Schema
}

// known schemas are made once: they are read-only from then on.
var taskSchemas = sync.OnceValue(func() taskSchema {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	one, _ := submitSchemas(registry)
	return taskSchema{registry, one}
})

// parseOne holds a task to the schema. What it then reads is what it looked at, made JSON again: of an object that
// says a thing twice, both must see the same.
func parseOne(data []byte, place string) (spec TaskSpec, err error) {
	if len(data) > queue.MaxTaskBytes {
		return spec, tooLarge()
	}
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		return spec, notJSON(err)
	}
	var found huma.ValidateResult
	s := taskSchemas()
	huma.Validate(s.registry, s.schema, huma.NewPathBuffer([]byte(place), len(place)), huma.ModeWriteToServer, value, &found)
	if len(found.Errors) > 0 {
		return spec, newError(422, "The task does not fit the schema", found.Errors[0])
	}
	again, err := json.Marshal(value)
	if err != nil {
		return spec, notJSON(err)
	}
	if err := json.Unmarshal(again, &spec); err != nil {
		return spec, notJSON(err)
	}
	return spec, nil
}

// notJSON says so, unless the error has said better already.
func notJSON(err error) error {
	if ours := (*Error)(nil); errors.As(err, &ours) {
		return ours
	}
	if err == nil {
		return fail(422, "Invalid", "The body is a JSON object: a task, or {\"tasks\": […]}.")
	}
	return fail(422, "Invalid", fmt.Sprintf("The body is not the JSON of a task: %v.", err))
}
