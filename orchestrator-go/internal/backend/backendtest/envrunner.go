package backendtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// StartEnvRunner starts the binary named by ENV_RUNNER_BIN, or the one that the build puts into
// dist/bin, with a workspace of its own, and returns its URL. It ends with the test.
func StartEnvRunner(t testing.TB, token string) string {
	dir := t.TempDir()
	portFile, tokenFile, workspace := filepath.Join(dir, "port"), filepath.Join(dir, "token"), filepath.Join(dir, "workspace")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(queuetest.Binary(t, "ENV_RUNNER_BIN", "env-runner"), "serve", "--listen", "127.0.0.1:0",
		"--token-file", tokenFile, "--workspace", workspace, "--forks-dir", filepath.Join(dir, "forks"), "--port-file", portFile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil {
			t.Error(err)
		}
		_ = cmd.Wait() // reports the kill
	})
	var port string
	queuetest.Eventually(t, patience, "the env runner listens", func() bool {
		text, err := os.ReadFile(portFile)
		port = strings.TrimSpace(string(text))
		return err == nil && port != ""
	})
	return "http://127.0.0.1:" + port
}
