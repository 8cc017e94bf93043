package backendtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// BlobStore is a RedDB in a process of its own, for its blobs; it ends with the test.
type BlobStore struct {
	URL   string
	Token string
}

// StartBlobStore starts the binary named by REDDB_BIN, or the one that the build puts into dist/bin.
func StartBlobStore(t testing.TB) *BlobStore {
	dir, address := t.TempDir(), freeAddress(t)
	s := &BlobStore{URL: "http://" + address, Token: "store-token-of-the-tests"}
	tokenFile := filepath.Join(dir, "token")
	if err := os.WriteFile(tokenFile, []byte(s.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(queuetest.Binary(t, "REDDB_BIN", "reddb"), "serve", "--data-dir", filepath.Join(dir, "data"),
		"--token-file", tokenFile, "--resp-listen", freeAddress(t), "--http-listen", address)
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
	queuetest.Eventually(t, patience, "the store is ready", func() bool {
		resp, err := http.Get(s.URL + "/readyz")
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return s
}

// Put stores a blob and returns its name.
func (s *BlobStore) Put(t testing.TB, content []byte) string {
	t.Helper()
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+"/v1/blobs/"+name, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return name
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}
