package backendtest

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

const (
	apiserverPatience = time.Minute
	adminToken        = "tests-only-admin"
	userToken         = "tests-only-user"
)

// Apiserver is a Kubernetes apiserver with nothing behind it but etcd; it ends with the test.
type Apiserver struct {
	// Admin may do everything; User is named user, and may do nothing that was not granted.
	Admin, User kubernetes.Interface
	argv        []string
	cmd         *exec.Cmd
}

// StartApiserver starts the programs of the project's tool cache, or those in PATH; without them the test is skipped.
func StartApiserver(t testing.TB) *Apiserver {
	etcd, apiserver := tool(t, "etcd"), tool(t, "kube-apiserver")
	dir := t.TempDir()
	client, peer, address := "http://"+freeAddress(t), "http://"+freeAddress(t), freeAddress(t)
	finish(t, exec.Command("openssl", "genrsa", "-out", filepath.Join(dir, "key"), "2048"))
	tokens := adminToken + `,admin,1,"system:masters"` + "\n" + userToken + ",user,2\n"
	if err := os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(tokens), 0o600); err != nil {
		t.Fatal(err)
	}
	store := begin(t, []string{
		etcd, "--data-dir=" + filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client, "--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
	})
	t.Cleanup(func() { end(t, store) })
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	a := &Apiserver{Admin: clientOf(t, address, adminToken), User: clientOf(t, address, userToken), argv: []string{
		apiserver, "--etcd-servers=" + client, "--bind-address=127.0.0.1", "--secure-port=" + port,
		"--cert-dir=" + filepath.Join(dir, "pki"), "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC",
		"--token-auth-file=" + filepath.Join(dir, "tokens.csv"), "--service-account-issuer=https://tests.invalid",
		"--service-account-key-file=" + filepath.Join(dir, "key"), "--service-account-signing-key-file=" + filepath.Join(dir, "key"),
		"--disable-admission-plugins=ServiceAccount",
	}}
	a.Start(t)
	t.Cleanup(func() { a.Kill(t) })
	return a
}

// Start starts the apiserver, again after Kill, and returns when it is ready.
func (a *Apiserver) Start(t testing.TB) {
	a.cmd = begin(t, a.argv)
	queuetest.Eventually(t, apiserverPatience, "the apiserver is ready", func() bool {
		return a.Admin.Discovery().RESTClient().Get().AbsPath("/readyz").Do(context.Background()).Error() == nil
	})
}

// Kill ends the apiserver as a crash would.
func (a *Apiserver) Kill(t testing.TB) {
	if a.cmd != nil {
		end(t, a.cmd)
		a.cmd = nil
	}
}

func clientOf(t testing.TB, address, token string) kubernetes.Interface {
	client, err := kubernetes.NewForConfig(&rest.Config{
		Host: "https://" + address, BearerToken: token, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{Insecure: true}, // its certificate is made at its start
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func tool(t testing.TB, name string) string {
	t.Helper()
	cached := filepath.Join(os.Getenv("DSPY_CACHE"), "bin", name)
	if _, err := os.Stat(cached); err == nil {
		return cached
	}
	found, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed: run `make setup`", name)
	}
	return found
}

func finish(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", cmd.Path, err, output)
	}
}

func begin(t testing.TB, argv []string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func end(t testing.TB, cmd *exec.Cmd) {
	if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	_ = cmd.Wait() // reports the kill
}
