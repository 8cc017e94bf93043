package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/blobs"
)

// stalled is a fake of a store that never sends all of a blob.
type stalled struct{ size int64 }

func (s stalled) Open(ctx context.Context, _ string) (io.ReadCloser, int64, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("half"), untilDone{ctx})), s.size, nil
}

type untilDone struct{ ctx context.Context }

func (r untilDone) Read([]byte) (int, error) {
	<-r.ctx.Done()
	return 0, r.ctx.Err()
}

// whole is a fake of a store that has every blob but one.
type whole struct{ lacks string }

func (s whole) Open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	if name == s.lacks {
		return nil, 0, fmt.Errorf("%w: %s", blobs.ErrNotFound, name)
	}
	return io.NopCloser(strings.NewReader("tree")), 4, nil
}

// Whoever knows the whole name may run in the workspace.
func TestAWorkspacesWholeNameIsNeitherLoggedNorInErrors(t *testing.T) {
	sent, broken, missing := strings.Repeat("ab", 32), strings.Repeat("cd", 32), strings.Repeat("ef", 32)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, broken) {
			panic(http.ErrAbortHandler)
		}
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	defer server.Close()
	var log lines
	p, err := NewPool(Options{Targets: []string{server.URL}, Blobs: whole{missing}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer p.end()
	for name, fails := range map[string]bool{sent: false, broken: true, missing: true} {
		p.endpoints[0].held = map[string]time.Time{}
		err := p.provide(t.Context(), p.endpoints[0], name)
		if (err != nil) != fails {
			t.Errorf("%.4s: %v", name, err)
		}
		if told := fmt.Sprint(err, log.String()); strings.Contains(told, name) || !strings.Contains(told, name[:12]) {
			t.Errorf("%.4s: told %s", name, told)
		}
	}
}

// TestAStoreThatStandsStillIsNotTheRunnersFault has a runner that gives up on the archive, and one that waits on.
func TestAStoreThatStandsStillIsNotTheRunnersFault(t *testing.T) {
	for name, c := range map[string]struct {
		answers bool
		size    int64
		patient bool
		want    string
	}{
		"the runner gives up":             {answers: true, size: 8, patient: true, want: "WorkspaceUnavailable"},
		"and the size is unknown":         {answers: true, size: -1, patient: true, want: "WorkspaceUnavailable"},
		"the copy takes too long":         {size: 8, want: "WorkspaceUnavailable"},
		"all was sent, and is no archive": {answers: true, size: 4, patient: true, want: "ArchiveInvalid"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadFull(r.Body, make([]byte, 4)); err != nil {
					t.Error(err)
				}
				if !c.answers {
					_, _ = io.Copy(io.Discard, r.Body) // until the sender gives up
					return
				}
				w.WriteHeader(http.StatusBadRequest)
				fmt.Fprint(w, `{"error": {"code": "ArchiveInvalid", "message": "The archive broke off."}}`)
			}))
			defer server.Close()
			p, err := NewPool(Options{Targets: []string{server.URL}, Blobs: stalled{c.size}}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			defer p.end()
			patience := 20 * time.Second
			if !c.patient {
				patience = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			_, err = p.upload(ctx, server.URL, tree)
			var fault *backend.Fault
			var rejected *backend.Rejected
			if !(errors.As(err, &fault) && fault.Code == c.want) && !(errors.As(err, &rejected) && rejected.Code == c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
