// Package layers holds who may import whom.
package layers

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "dspyagent.io/orchestrator/internal/"

// allowed names, for each package, those of ours that it may import. What is not here may import none.
var allowed = map[string][]string{
	"schedule":       {"queue"}, // the rules: no input, no output, no clock
	"backend":        {"queue"},
	"backend/runner": {"backend", "blobs", "kube", "queue", "telemetry"},
	"backend/slurm":  {"backend", "queue"},
	"auth":           {"kube"},
	"dispatch":       {"backend", "limit", "queue", "schedule", "telemetry"},
	"httpapi":        {"auth", "backend", "queue", "telemetry"},
}

// forbidden are libraries that only the packages named may import.
var forbidden = map[string][]string{
	"github.com/redis/go-redis":        {"queue"},
	"k8s.io/client-go":                 {"kube", "auth", "backend/runner"},
	"github.com/failsafe-go":           {"limit", "backend/runner"},
	"github.com/danielgtaylor/huma":    {"httpapi"},
	"go.opentelemetry.io/otel/sdk":     {"telemetry"},
	"go.opentelemetry.io/otel/exporte": {"telemetry"},
}

type pkg struct {
	ImportPath string
	Imports    []string
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		name, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours || isTestHelper(name) {
			continue
		}
		for _, imported := range p.Imports {
			if other, ours := strings.CutPrefix(imported, module); ours && !slices.Contains(allowed[name], other) {
				t.Errorf("%s imports %s; see allowed in this test", name, other)
			}
			for library, users := range forbidden {
				if strings.HasPrefix(imported, library) && !slices.Contains(users, name) {
					t.Errorf("%s imports %s, which belongs to %v", name, imported, users)
				}
			}
		}
	}
}

// isTestHelper says whether a package is there for tests, which may cross layers.
func isTestHelper(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(part string) bool {
		return part == "limitsim" || part == "fakerunner" || strings.HasSuffix(part, "test")
	})
}

func packages(t *testing.T) []pkg {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages listed", len(all))
	}
	return all
}
