package runner_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/backend/runner"
	"dspyagent.io/orchestrator/internal/backend/runner/fakerunner"
	"dspyagent.io/orchestrator/internal/blobs"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// fakeBlobs is a fake of the store: blobs in memory, and reads that the test breaks.
type fakeBlobs struct {
	content map[string][]byte
	broken  atomic.Bool // readings end early
	away    atomic.Bool
}

func (f *fakeBlobs) Open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	content, ok := f.content[name]
	switch {
	case f.away.Load():
		return nil, 0, errors.New("the store is away")
	case !ok:
		return nil, 0, fmt.Errorf("%w: %s", blobs.ErrNotFound, name)
	case f.broken.Load():
		half := io.MultiReader(bytes.NewReader(content[:len(content)/2]), iotest.ErrReader(errors.New("cut off")))
		return io.NopCloser(half), int64(len(content)), nil
	}
	return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
}

// stored is a store with one blob, and its name.
func stored(content []byte) (*fakeBlobs, string) {
	sum := sha256.Sum256(content)
	name := hex.EncodeToString(sum[:])
	return &fakeBlobs{content: map[string][]byte{name: content}}, name
}

// in is a with a workspace.
func in(workspace string, a backend.Attempt) backend.Attempt {
	a.Task.Spec.Workspace = workspace
	return a
}

func withBlobs(t *testing.T, b runner.Blobs, runners ...*fakerunner.Runner) *runner.Pool {
	opt := runner.Options{Token: fakerunner.Token, Blobs: b}
	for _, r := range runners {
		opt.Targets = append(opt.Targets, r.URL)
	}
	pool := startWith(t, opt)
	queuetest.Eventually(t, 10*time.Second, "all are healthy", func() bool { n, _ := pool.Healthy(); return n == len(runners) })
	return pool
}

func TestAWorkspaceIsSentOnceToOneRunner(t *testing.T) {
	store, name := stored(bytes.Repeat([]byte("tree"), 1<<16))
	a, b := fakerunner.Start(t, 8), fakerunner.Start(t, 8)
	pool := withBlobs(t, store, a, b)
	sending, release := a.Delay()
	var runs sync.WaitGroup
	for i := range 4 {
		runs.Go(func() {
			if _, err := pool.Run(bounded(t), in(name, attempt(fmt.Sprint(i), "/bin/true"))); err != nil {
				t.Error(err)
			}
		})
	}
	<-sending
	release()
	runs.Wait()
	if a.Uploads(name) != 1 || b.Uploads(name) != 0 {
		t.Errorf("sent %d and %d times", a.Uploads(name), b.Uploads(name))
	}
}

func TestAWorkspaceThatWasLetGoIsSentAgain(t *testing.T) {
	store, name := stored([]byte("tree"))
	fake := fakerunner.Start(t, 4)
	pool := withBlobs(t, store, fake)
	for range 2 {
		if _, err := pool.Run(bounded(t), in(name, attempt("t", "/bin/true"))); err != nil {
			t.Fatal(err)
		}
		fake.Hold(name, false)
	}
	if fake.Uploads(name) != 2 {
		t.Errorf("sent %d times", fake.Uploads(name))
	}
}

func TestWorkspacesThatCannotBeHad(t *testing.T) {
	store, name := stored([]byte("tree and what follows"))
	fake := fakerunner.Start(t, 4)
	pool := withBlobs(t, store, fake)
	run := func(workspace string) error {
		_, err := pool.Run(bounded(t), in(workspace, attempt("t", "/bin/true")))
		return err
	}
	var rejected *backend.Rejected
	if err := run(strings.Repeat("0", 64)); !errors.As(err, &rejected) || rejected.Code != "WorkspaceNotFound" {
		t.Errorf("an unknown blob: %v", err)
	}
	for what, toggle := range map[string]*atomic.Bool{"away": &store.away, "broken": &store.broken} {
		toggle.Store(true)
		var fault *backend.Fault
		if err := run(name); !errors.As(err, &fault) || fault.Code != "WorkspaceUnavailable" {
			t.Errorf("a store that is %s: %v", what, err)
		}
		toggle.Store(false)
	}
	store.content[name] = []byte("something else")
	var fault *backend.Fault
	if err := run(name); !errors.As(err, &fault) || fault.Code != "WorkspaceUnavailable" {
		t.Errorf("a damaged blob: %v", err)
	}
	if n := len(fake.Runs()); n != 0 {
		t.Errorf("%d tasks ran", n)
	}
}

func TestWithoutAStoreATaskWithAWorkspaceIsRejected(t *testing.T) {
	pool := start(t, fakerunner.Token, fakerunner.Start(t, 4).URL)
	var rejected *backend.Rejected
	if _, err := pool.Run(bounded(t), in("x", attempt("t", "/bin/true"))); !errors.As(err, &rejected) {
		t.Errorf("got %v", err)
	}
}

// real is a pool of a real env runner, with the store that it takes workspaces from.
func real(t *testing.T, flags ...string) (*runner.Pool, *backendtest.BlobStore) {
	r, store := backendtest.NewEnvRunner(t, fakerunner.Token, flags...), backendtest.StartBlobStore(t)
	client, err := blobs.New(store.URL, store.Token)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return startWith(t, runner.Options{Targets: []string{r.URL}, Token: fakerunner.Token, Blobs: client}), store
}

// TestWorkspacesOfARealRunner has one that holds a single workspace, so that each of two makes it let the other go.
func TestWorkspacesOfARealRunner(t *testing.T) {
	pool, store := real(t, "--max-workspaces=1")
	for _, content := range []string{"one\n", "one\n", "two\n", "one\n"} {
		name := store.Put(t, archive(t, "greeting.txt", content))
		result, err := pool.Run(bounded(t), in(name, attempt("t", "/bin/cat", "greeting.txt")))
		if err != nil || result.Stdout != content {
			t.Errorf("got %+v, %v", result, err)
		}
	}
	var rejected *backend.Rejected
	broken := store.Put(t, []byte("no archive at all"))
	if _, err := pool.Run(bounded(t), in(broken, attempt("t", "/bin/true"))); !errors.As(err, &rejected) || rejected.Code != "ArchiveInvalid" {
		t.Errorf("what is no archive: %v", err)
	}
	if pool.Capacity() < 1 || pool.Pressure() < 0 {
		t.Errorf("capacity %d, pressure %v", pool.Capacity(), pool.Pressure())
	}
}

// TestTasksOfARealRunnerShareNothing has one leave a file where Python would run it in the next.
func TestTasksOfARealRunnerShareNothing(t *testing.T) {
	pool, _ := real(t)
	script := "ls -A; echo hostile > sitecustomize.py && mkdir d"
	for range 3 {
		result, err := pool.Run(bounded(t), attempt("t", "/bin/sh", "-c", script))
		if err != nil || result.Reason != "Completed" || result.Stdout != "" {
			t.Errorf("a task found what another left: %+v, %v", result, err)
		}
	}
}

// TestARunnerWithoutScratchWorkspaces is too old: the task is no worse for it, and never shares the main workspace.
func TestARunnerWithoutScratchWorkspaces(t *testing.T) {
	asked := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"max_concurrent": 1}`)
			return
		}
		var body struct{ Workspace string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		asked <- body.Workspace
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error": {"code": "WorkspaceNotFound", "message": "There is no workspace."}}`)
	}))
	defer server.Close()
	pool := startWith(t, runner.Options{Targets: []string{server.URL}})
	_, err := pool.Run(bounded(t), attempt("t", "/bin/true"))
	var fault *backend.Fault
	if !errors.As(err, &fault) || fault.Code != "RunnerFault" {
		t.Errorf("got %v", err)
	}
	if workspace := <-asked; workspace != "scratch" {
		t.Errorf("it was asked for the workspace %q", workspace)
	}
}

// TestARealRunnerWithoutRoomForAWorkspace holds one that is in use: the task with another waits.
func TestARealRunnerWithoutRoomForAWorkspace(t *testing.T) {
	pool, store := real(t, "--max-workspaces=1", "--max-concurrent=2")
	one, two := store.Put(t, archive(t, "one", "")), store.Put(t, archive(t, "two", ""))
	first, sent := make(chan error, 1), make(chan struct{})
	ctx := bounded(t)
	go func() {
		_, err := pool.Run(ctx, begun(in(one, attempt("first", "/bin/sleep", "1")), func() { close(sent) }))
		first <- err
	}()
	<-sent
	if _, err := pool.Run(ctx, in(two, attempt("second", "/bin/ls", "two"))); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func archive(t *testing.T, name, content string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = io.WriteString(w, content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

var _ runner.Blobs = (*blobs.Client)(nil)
