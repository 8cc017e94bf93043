package slurm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

func (r *rest) path(version int, tail string) string {
	if tail == "jobs" && version >= 39 {
		tail = "jobs/"
	}
	return "/slurm/v0.0." + strconv.Itoa(version) + "/" + tail
}

// ask does what needs the version. A path that slurmrestd has not is, at first, taken for one of a version that it no
// longer speaks; done twice, it was not done the first time.
func (r *rest) ask(ctx context.Context, do func(version int) error) error {
	version, err := r.speaks(ctx)
	if err != nil {
		return err
	}
	if err = do(version); !noSuchPath(err) {
		return err
	}
	r.forget(version)
	now, lost := r.speaks(ctx)
	if lost != nil {
		return lost
	}
	if now == version {
		return err
	}
	return do(now)
}

// noSuchPath says that it was not Slurm who answered 404, of a job or of an account.
func noSuchPath(err error) bool {
	status, ok := errors.AsType[*httpStatus](err)
	return ok && status.code == http.StatusNotFound && !unknownJob(err) && !nothingFound(err)
}

func (r *rest) forget(version int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version == version {
		r.version = 0
	}
}

// speaks finds out the newest version that both sides know, once.
func (r *rest) speaks(ctx context.Context) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.version != 0 {
		return r.version, nil
	}
	for version := newestVersion; version >= oldestVersion; version-- {
		tail := "ping/"
		if version < 39 {
			tail = "ping"
		}
		err := r.call(ctx, http.MethodGet, r.path(version, tail), nil, nil)
		status, answered := errors.AsType[*httpStatus](err)
		if answered && status.code == http.StatusNotFound {
			continue
		}
		// slurmrestd knows the version even when slurmctld does not answer it; a proxy without slurmrestd knows none.
		if err != nil && (kindOf(err) == denied || !answered || !status.told) {
			return 0, err
		}
		r.version = version
		return version, nil
	}
	return 0, &failure{
		kind: denied, message: fmt.Sprintf("slurmrestd speaks no version from v0.0.%d to v0.0.%d", oldestVersion, newestVersion),
	}
}

// httpStatus is an answer of which nothing but its status can be used.
type httpStatus struct {
	code int
	body string
	told bool // by Slurm: its errors are in the body
}

func (s *httpStatus) Error() string { return fmt.Sprintf("status %d: %.200q", s.code, s.body) }

// call sends one request and reads the reply into out. Errors: *failure, or the context's.
func (r *rest) call(ctx context.Context, method, path string, body []byte, out any) error {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(bounded, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return &failure{message: "slurmrestd cannot be asked", cause: err}
	}
	if err := r.sign(req); err != nil {
		return err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := r.http.Do(req)
	if err == nil {
		var reply []byte
		reply, err = io.ReadAll(io.LimitReader(resp.Body, maxReply))
		if err = errors.Join(err, resp.Body.Close()); err == nil {
			return interpret(resp.StatusCode, reply, out)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &failure{message: "slurmrestd does not answer", cause: err}
}

func (r *rest) sign(req *http.Request) error {
	if r.user != "" {
		req.Header.Set("X-SLURM-USER-NAME", r.user)
	}
	if r.token == "" {
		return nil
	}
	token, err := os.ReadFile(r.token)
	if err != nil {
		return &failure{kind: denied, message: "the token for slurmrestd cannot be read", cause: err}
	}
	// `scontrol token` prints SLURM_JWT=…
	req.Header.Set("X-SLURM-USER-TOKEN", strings.TrimPrefix(strings.TrimSpace(string(token)), "SLURM_JWT="))
	return nil
}

// interpret reads a reply: its errors first, whose numbers say more than the status does.
func interpret(status int, body []byte, out any) error {
	var reply struct {
		Errors []restError `json:"errors"`
	}
	err := json.Unmarshal(body, &reply)
	for _, e := range reply.Errors {
		if e.number() != 0 || e.text() != "" {
			return &failure{kind: e.kind(), message: e.text(), cause: &httpStatus{status, string(body[:min(len(body), 400)]), true}}
		}
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return &failure{kind: denied, message: "slurmrestd does not accept the token", cause: &httpStatus{status, string(body), false}}
	case status >= 300 || err != nil:
		return &failure{message: "slurmrestd failed", cause: errors.Join(&httpStatus{status, string(body[:min(len(body), 400)]), false}, err)}
	case out == nil:
		return nil
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &failure{message: "slurmrestd's reply cannot be read", cause: err}
	}
	return nil
}
