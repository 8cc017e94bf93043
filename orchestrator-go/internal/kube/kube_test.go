package kube_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/klog/v2"

	"dspyagent.io/orchestrator/internal/kube"
)

func TestOutsideOfAClusterTheErrorSaysWhatIsMissing(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.InCluster(); err == nil || !strings.Contains(err.Error(), "service account") {
		t.Errorf("got %v", err)
	}
}

func TestTheLibrariesLogToOurs(t *testing.T) {
	var out bytes.Buffer
	kube.LogTo(slog.New(slog.NewJSONHandler(&out, nil)))
	t.Cleanup(klog.ClearLogger)
	klog.InfoS("as a library does", "key", "value")
	if got := out.String(); !strings.Contains(got, `"msg":"as a library does"`) || !strings.Contains(got, `"component":"kubernetes"`) {
		t.Errorf("got %q", got)
	}
}
