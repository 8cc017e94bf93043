package slurm

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// speaking is a slurmrestd of one version that takes one token.
func speaking(t *testing.T, version, token string, answer http.HandlerFunc) *rest {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("X-SLURM-USER-TOKEN") != token || r.Header.Get("X-SLURM-USER-NAME") != "alice":
			w.WriteHeader(http.StatusUnauthorized)
		case !strings.HasPrefix(r.URL.Path, "/slurm/"+version+"/") && !strings.HasPrefix(r.URL.Path, "/slurmdb/"+version+"/"):
			w.WriteHeader(http.StatusNotFound)
		case strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/ping"):
			_, _ = io.WriteString(w, `{"errors":[]}`)
		default:
			answer(w, r)
		}
	}))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("SLURM_JWT=secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := newREST(Options{URL: server.URL + "/", User: "alice", TokenFile: file}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.http.CloseIdleConnections)
	return r
}

func TestNewestVersionIsFound(t *testing.T) {
	for _, version := range []string{"v0.0.38", "v0.0.41", "v0.0.46"} {
		r := speaking(t, version, "secret", func(w http.ResponseWriter, r *http.Request) {
			var body struct {
				Job map[string]any `json:"job"`
			}
			if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.Job["name"] != "dspy-a" {
				t.Errorf("%v, %v", err, body)
			}
			_, _ = io.WriteString(w, `{"job_id":17,"errors":[],"warnings":[]}`)
		})
		if id, err := r.submit(t.Context(), submission{name: "dspy-a"}); id != 17 || err != nil {
			t.Errorf("%s: %d, %v", version, id, err)
		}
	}
}

func TestTokenIsRefused(t *testing.T) {
	r := speaking(t, "v0.0.42", "another", nil)
	if _, err := r.find(t.Context(), "dspy-a"); kindOf(err) != denied {
		t.Error(err)
	}
}

func TestOnlyOurJobsAreFound(t *testing.T) {
	r := speaking(t, "v0.0.42", "secret", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"jobs":[{"job_id":1,"name":"dspy-a","user_name":"mallory"},{"job_id":2,"name":"dspy-a","user_name":"alice"},
			{"job_id":3,"name":"dspy-b","user_name":"alice"}]}`)
	})
	if jobs, err := r.find(t.Context(), "dspy-a"); err != nil || len(jobs) != 1 || jobs[0].id != 2 {
		t.Errorf("%v, %v", jobs, err)
	}
}

func TestAccountsOverREST(t *testing.T) {
	r := speaking(t, "v0.0.42", "secret", func(w http.ResponseWriter, r *http.Request) {
		if q := r.URL.Query(); r.URL.Path != "/slurmdb/v0.0.42/jobs/" || q.Get("job_name") != "dspy-a" || q.Get("users") != "alice" || q.Get("start_time") == "" {
			t.Errorf("asked for %s", r.URL)
		}
		data, err := os.ReadFile("testdata/rest/accounts-v0.0.42.json")
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(data)
	})
	if jobs, err := r.past(t.Context(), "dspy-a"); err != nil || len(jobs) != 3 {
		t.Errorf("%v, %v", jobs, err)
	}
}

// A job that was forgotten is one that slurmrestd answers with an error.
func TestUnknownJobIsAbsent(t *testing.T) {
	r := speaking(t, "v0.0.38", "secret", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = io.WriteString(w, `{"errors":[{"error_number":2017,"error":"Invalid job id specified"}]}`)
	})
	if found, err := r.status(t.Context(), []int64{7}); err != nil || len(found) != 0 {
		t.Errorf("%v, %v", found, err)
	}
	if err := r.cancel(t.Context(), 7); err != nil {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	for _, url := range []string{"slurm:6820", "unix://", "ftp://slurm", "https://"} {
		if _, err := newREST(Options{URL: url}); err == nil {
			t.Errorf("%s was taken", url)
		}
	}
}

func TestAccountsTimes(t *testing.T) {
	now := time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	if old, young := pastStart(39, now), pastStart(40, now); old != "2026-02-02T01:00:00" || young != "1769994000" {
		t.Error(old, young)
	}
}

func TestNoAccountsOverREST(t *testing.T) {
	r := speaking(t, "v0.0.42", "secret", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
	if _, err := r.past(t.Context(), "dspy-a"); err != errNoAccounting {
		t.Error(err)
	}
}
