package backendtest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// EnvRunner is a real env runner in a process of its own; it ends with the test.
type EnvRunner struct {
	URL   string
	Forks string // where its commands' own workspaces are
	cmd   *exec.Cmd
}

// Stop sends SIGTERM, after which the runner takes no connections and lets commands end for a while.
func (r *EnvRunner) Stop(t testing.TB) {
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

// StartEnvRunner is NewEnvRunner for those who need no more than the URL.
func StartEnvRunner(t testing.TB, token string) string { return NewEnvRunner(t, token).URL }

// NewEnvRunner starts the binary named by ENV_RUNNER_BIN, or the one that the build puts into dist/bin, with more
// flags than it needs if they are given.
func NewEnvRunner(t testing.TB, token string, flags ...string) *EnvRunner {
	dir := t.TempDir()
	portFile, tokenFile, workspace := filepath.Join(dir, "port"), filepath.Join(dir, "token"), filepath.Join(dir, "workspace")
	if err := os.WriteFile(tokenFile, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	forks := filepath.Join(dir, "forks")
	if err := os.Mkdir(workspace, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(queuetest.Binary(t, "ENV_RUNNER_BIN", "env-runner"), append([]string{
		"serve", "--listen", "127.0.0.1:0", "--token-file", tokenFile, "--workspace", workspace,
		"--forks-dir", forks, "--port-file", portFile,
	}, flags...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
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
	return &EnvRunner{URL: "http://127.0.0.1:" + port, Forks: forks, cmd: cmd}
}
