package httpapi_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dspyagent.io/orchestrator/internal/httpapi"
)

func TestRequestsAreCountedByRoute(t *testing.T) {
	registry := prometheus.NewRegistry()
	api := newAPI(t, httpapi.Options{Tasks: &fakeTasks{}, Metrics: registry})
	ask(api, "GET", ofTask, token)
	ask(api, "GET", ofTask, "wrong")
	ask(api, "GET", "/v1/nothing/of-that/kind", token)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, family := range families {
		for _, metric := range family.Metric {
			for _, label := range metric.Label {
				seen = append(seen, label.GetValue())
			}
		}
	}
	want := "GET /v1/tasks/{id} 200 GET /v1/tasks/{id} 401 none 404"
	if got := strings.Join(seen, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
