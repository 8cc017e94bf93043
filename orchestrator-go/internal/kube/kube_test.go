package kube_test

import (
	"strings"
	"testing"

	"dspyagent.io/orchestrator/internal/kube"
)

func TestOutsideOfAClusterTheErrorSaysWhatIsMissing(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.InCluster(); err == nil || !strings.Contains(err.Error(), "service account") {
		t.Errorf("got %v", err)
	}
}
