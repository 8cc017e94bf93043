package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/blobs"
	"dspyagent.io/orchestrator/internal/queue"
)

// usualCopy is how long a workspace's copy is taken to last before there was one.
const usualCopy = time.Second

// Blobs is where the archives of workspaces are read.
type Blobs interface {
	// Open returns the content and its size, -1 for unknown. Errors: blobs.ErrNotFound, or the store being in trouble.
	Open(ctx context.Context, sha256 string) (io.ReadCloser, int64, error)
}

// copying is a workspace on its way to a runner.
type copying struct {
	done chan struct{} // closed at its end
	err  error
}

// possible says whether the pool can run a task at all.
func (p *Pool) possible(task queue.Task) error {
	if task.Spec.Workspace != "" && p.opt.Blobs == nil {
		return &backend.Rejected{
			Code: "WorkspacesUnavailable", Message: "This orchestrator has no store of workspaces; set --blobs to use them.",
		}
	}
	return nil
}

// patience is how long a task waits for a runner that holds its workspace before it takes another: as long as the
// last copy of it took. Whether a holder would have been free a moment later or never, the task waits at most twice
// as long as with the better choice (the ski-rental rule, Karlin et al. 1988).
func (p *Pool) patience(workspace string) time.Duration {
	if workspace == "" {
		return 0
	}
	if took, ok := p.copied.Get(workspace); ok {
		return took.(time.Duration)
	}
	return usualCopy
}

// provide has the workspace copied to a runner that does not hold it, once for all who ask at the same time. A copy
// that nobody waits for any more goes on: it is of use to the next attempt.
func (p *Pool) provide(ctx context.Context, e *endpoint, workspace string) error {
	p.mu.Lock()
	if _, held := e.held[workspace]; held {
		p.metrics.workspace("held")
		p.mu.Unlock()
		return nil
	}
	c, coming := e.copies[workspace]
	if !coming && p.ended {
		p.mu.Unlock()
		return errClosed
	}
	if !coming {
		c = &copying{done: make(chan struct{})}
		e.copies[workspace] = c
		lost := e.ctx
		p.copying.Go(func() { p.copy(lost, e, workspace, c) })
	}
	p.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return &backend.Fault{Code: codeLost, Message: "the runner stopped answering while it was sent the workspace", Cause: context.Cause(ctx)}
	}
}

func (p *Pool) copy(ctx context.Context, e *endpoint, workspace string, c *copying) {
	ctx, cancel := context.WithTimeout(ctx, p.opt.CopyTimeout)
	defer cancel()
	began := time.Now()
	size, err := p.upload(ctx, e.url, workspace)
	took := time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(e.copies, workspace)
	if c.err = err; err == nil {
		e.held[workspace] = time.Now()
		p.copied.Add(workspace, took)
		p.metrics.workspace("copied")
		p.log.Info("a runner was sent a workspace", "runner", e.url, "workspace", brief(workspace), "bytes", size, "seconds", took.Seconds())
	} else {
		p.metrics.workspace("failed")
		p.log.Warn("a runner could not be sent a workspace", "runner", e.url, "workspace", brief(workspace), "error", err)
	}
	close(c.done)
	p.grant()
}

// upload sends a workspace. Errors: *backend.Rejected where no runner would take it, *errLater, *backend.Fault.
func (p *Pool) upload(ctx context.Context, base, workspace string) (int64, error) {
	body, size, err := p.opt.Blobs.Open(ctx, workspace)
	if errors.Is(err, blobs.ErrNotFound) {
		return 0, &backend.Rejected{
			Code:    "WorkspaceNotFound",
			Message: fmt.Sprintf("The store has no blob %s; upload the workspace's archive there before the task.", brief(workspace)),
		}
	}
	if err != nil {
		return 0, unavailable(err)
	}
	content := &source{ReadCloser: body}
	err = p.client.put(ctx, base, workspace, content, size)
	if broken := content.err.Load(); broken != nil && err != nil && ctx.Err() == nil {
		return 0, unavailable(*broken)
	}
	var rejected *backend.Rejected
	if errors.As(err, &rejected) && rejected.Code == "ArchiveInvalid" && !content.whole(size) {
		return 0, unavailable(fmt.Errorf("the store stood still after %d of %d bytes: %w", content.read.Load(), size, err))
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return 0, unavailable(err)
	}
	return size, err
}

// source remembers how far a blob was read, and why no further: that is no fault of the runner that it is sent to.
type source struct {
	io.ReadCloser
	read atomic.Int64
	end  atomic.Bool
	err  atomic.Pointer[error]
}

func (s *source) Read(buffer []byte) (int, error) {
	n, err := s.ReadCloser.Read(buffer)
	s.read.Add(int64(n))
	if errors.Is(err, io.EOF) {
		s.end.Store(true)
	} else if err != nil {
		s.err.Store(&err)
	}
	return n, err
}

func (s *source) whole(size int64) bool { return s.end.Load() || s.read.Load() == size }

// brief is what logs and errors hold of a workspace's name: all of it is the key to its content.
func brief(workspace string) string { return fmt.Sprintf("%.12s…", workspace) }

// unaddressed is an error without the URL, which ends with the workspace's name.
func unaddressed(err error) error {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		return asked.Err
	}
	return err
}

func unavailable(err error) error {
	return &backend.Fault{Code: "WorkspaceUnavailable", Message: "the store of workspaces does not answer as it should", Cause: err}
}

// put sends an archive as a workspace of a runner.
func (c *client) put(ctx context.Context, base, workspace string, content io.ReadCloser, size int64) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, base+"/v1/workspaces/"+workspace, content)
	if err != nil {
		return errors.Join(&backend.Fault{Code: "Internal", Message: "the workspace cannot be sent to a runner", Cause: err}, content.Close())
	}
	req.ContentLength = size
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/x-tar")
	// A runner that refuses the archive, or holds it by now, says so before it is sent.
	req.Header.Set("Expect", "100-continue")
	status, header, reply, err := c.do(req)
	if err != nil {
		return unsent(unaddressed(err), "the runner stopped answering while it was sent the workspace")
	}
	if status/100 == 2 {
		return nil
	}
	if status == http.StatusInsufficientStorage {
		return &errLater{crowded: true}
	}
	return refusal(status, header, reply)
}
