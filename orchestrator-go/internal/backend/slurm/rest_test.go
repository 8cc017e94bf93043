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
	return behind(t, &version, token, answer, func(r http.Handler) http.Handler { return r })
}

// behind is the same behind a proxy; its version may be changed.
func behind(t *testing.T, speaks *string, token string, answer http.HandlerFunc, proxy func(http.Handler) http.Handler) *rest {
	t.Helper()
	server := httptest.NewServer(proxy(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := *speaks
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
	})))
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

// A proxy that has no slurmrestd behind it yet does not tell what that will speak.
func TestProxyTellsNoVersion(t *testing.T) {
	away, version := true, "v0.0.41"
	answer := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"jobs":[],"errors":[]}`) }
	r := behind(t, &version, "secret", answer, func(slurmrestd http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if away {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			slurmrestd.ServeHTTP(w, r)
		})
	})
	if _, err := r.find(t.Context(), "dspy-a"); err == nil || kindOf(err) != unreachable {
		t.Errorf("got %v", err)
	}
	away = false
	if _, err := r.find(t.Context(), "dspy-a"); err != nil || r.version != 41 {
		t.Errorf("v0.0.%d, %v", r.version, err)
	}
}

// slurmctld that is away is slurmrestd's own word, in the version that was asked for.
func TestVersionIsFoundWithoutSlurmctld(t *testing.T) {
	version := "v0.0.41"
	r := behind(t, &version, "secret", nil, func(slurmrestd http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/slurm/v0.0.41/") {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = io.WriteString(w, `{"errors":[{"error_number":1001,"error":"Communication connection failure"}]}`)
				return
			}
			slurmrestd.ServeHTTP(w, r)
		})
	})
	if found, err := r.speaks(t.Context()); found != 41 || err != nil {
		t.Errorf("v0.0.%d, %v", found, err)
	}
}

func TestUpgradedSlurmrestd(t *testing.T) {
	version := "v0.0.40"
	r := behind(t, &version, "secret", func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/slurmdb/") {
			_, _ = io.WriteString(w, `{"jobs":[{"job_id":2,"name":"dspy-a","user":"alice","state":{"current":["COMPLETED"]}}],"errors":[]}`)
			return
		}
		_, _ = io.WriteString(w, `{"job_id":17,"errors":[]}`)
	}, func(slurmrestd http.Handler) http.Handler { return slurmrestd })
	if _, err := r.submit(t.Context(), submission{name: "dspy-a"}); err != nil {
		t.Fatal(err)
	}
	version = "v0.0.42"
	if jobs, err := r.past(t.Context(), "dspy-a"); err != nil || len(jobs) != 1 {
		t.Errorf("%v, %v", jobs, err)
	}
	version = "v0.0.43"
	if id, err := r.submit(t.Context(), submission{name: "dspy-a"}); err != nil || id != 17 {
		t.Errorf("%d, %v", id, err)
	}
}
