package fakerunner

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"slices"

	"dspyagent.io/orchestrator/internal/queue"
)

// Press sets the pressure that the fake reports, and how many requests of others run on it.
func (r *Runner) Press(pressure float64, others int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pressure, r.others = pressure, others
}

// Holds says whether the fake holds a workspace.
func (r *Runner) Holds(workspace string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held[workspace]
}

// Hold gives the fake a workspace, or with false takes it away.
func (r *Runner) Hold(workspace string, held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held[workspace] = held; !held {
		delete(r.held, workspace)
	}
}

// Uploads is how often a workspace was sent to the fake.
func (r *Runner) Uploads(workspace string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.uploads[workspace]
}

// Delay holds uploads up until release is called; each that begins is told of on the channel.
func (r *Runner) Delay() (sending <-chan struct{}, release func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	gate := make(chan struct{})
	r.gate = gate
	return r.sending, func() { close(gate) }
}

// about is the body of GET /v1/info.
func (r *Runner) about() map[string]any {
	held := slices.Collect(maps.Keys(r.held))
	return map[string]any{
		"max_concurrent": r.limit, "pressure": r.pressure, "running": r.active + r.others, "waiting": 0,
		"workspaces": append([]string{}, held...), "workspaces_held": len(held),
	}
}

func (r *Runner) receive(w http.ResponseWriter, req *http.Request) {
	name := req.PathValue("sha256")
	r.mu.Lock()
	r.uploads[name]++
	gate := r.gate
	r.mu.Unlock()
	r.sending <- struct{}{}
	if gate != nil {
		select {
		case <-gate:
		case <-req.Context().Done():
			return
		}
	}
	content, err := io.ReadAll(req.Body)
	if err != nil {
		return // the sender broke off
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != name {
		reply(w, 422, map[string]any{"error": queue.Fault{Code: "DigestMismatch", Message: "Send what the name says."}})
		return
	}
	r.Hold(name, true)
	reply(w, 201, struct{}{})
}
