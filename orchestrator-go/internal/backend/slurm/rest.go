package slurm

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The versions of the REST API that are known, v0.0.38 (Slurm 22.05) to v0.0.46; a newer one is
// spoken to as the newest of these.
const (
	oldestVersion = 38
	newestVersion = 46
	// fewJobs is up to how many jobs are asked for one by one: cheaper than the list of all jobs of the cluster.
	fewJobs = 16
)

// rest speaks to slurmrestd.
type rest struct {
	http    *http.Client
	base    string
	user    string
	token   string // path of the file that holds it; read anew for each request, since tokens end
	timeout time.Duration

	mu      sync.Mutex
	version int // 0: not found out yet
}

// newREST takes http://host:port, https://host:port or unix:///path/of/socket.
func newREST(opt Options) (*rest, error) {
	u, err := url.Parse(opt.URL)
	if err != nil {
		return nil, fmt.Errorf("the address of slurmrestd: %w", err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: fewJobs, IdleConnTimeout: 30 * time.Second, DisableCompression: true}
	base := strings.TrimSuffix(opt.URL, "/")
	switch {
	case u.Scheme == "unix" && u.Path != "":
		base = "http://slurmrestd"
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", u.Path)
		}
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host != "":
	default:
		return nil, fmt.Errorf("the address of slurmrestd: %q is none of http://, https:// and unix:///", opt.URL)
	}
	return &rest{
		http: &http.Client{Transport: transport}, base: base, user: opt.User, token: opt.TokenFile, timeout: opt.CallTimeout,
	}, nil
}

func (r *rest) submit(ctx context.Context, s submission) (int64, error) {
	var reply struct {
		JobID  number `json:"job_id"`
		Result struct {
			JobID number `json:"job_id"` // v0.0.39 to v0.0.41 have it here too
		} `json:"result"`
	}
	err := r.ask(ctx, func(version int) error {
		body, err := json.Marshal(submitBody(version, s))
		if err != nil {
			return &failure{kind: refused, message: "the job cannot be put as JSON", cause: err}
		}
		return r.call(ctx, http.MethodPost, r.path(version, "job/submit"), body, &reply)
	})
	if err != nil {
		return 0, err
	}
	id := max(reply.JobID.value, reply.Result.JobID.value)
	if id == 0 {
		return 0, &failure{message: "slurmrestd answered without a job id"}
	}
	return id, nil
}

func (r *rest) find(ctx context.Context, name string) ([]job, error) {
	jobs, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	var found []job
	for _, j := range jobs {
		if j.name == name && (r.user == "" || j.user == r.user) {
			found = append(found, j)
		}
	}
	return found, nil
}

func (r *rest) status(ctx context.Context, ids []int64) (map[int64][]job, error) {
	if len(ids) > fewJobs {
		return r.statusOfMany(ctx, ids)
	}
	replies, errs := make([][]job, len(ids)), make([]error, len(ids))
	var asked sync.WaitGroup
	for i, id := range ids {
		asked.Go(func() { replies[i], errs[i] = r.jobs(ctx, "job/"+strconv.FormatInt(id, 10)) })
	}
	asked.Wait()
	found := map[int64][]job{}
	for i, id := range ids {
		if unknownJob(errs[i]) {
			continue
		}
		if errs[i] != nil {
			return nil, errs[i]
		}
		found[id] = replies[i]
	}
	return found, nil
}

func (r *rest) statusOfMany(ctx context.Context, ids []int64) (map[int64][]job, error) {
	wanted := make(map[int64]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	jobs, err := r.list(ctx)
	if err != nil {
		return nil, err
	}
	found := map[int64][]job{}
	for _, j := range jobs {
		if wanted[j.id] {
			found[j.id] = append(found[j.id], j)
		}
	}
	return found, nil
}

func (r *rest) list(ctx context.Context) ([]job, error) { return r.jobs(ctx, "jobs") }

func (r *rest) jobs(ctx context.Context, tail string) ([]job, error) {
	var reply struct {
		Jobs []restJob `json:"jobs"`
	}
	err := r.ask(ctx, func(version int) error { return r.call(ctx, http.MethodGet, r.path(version, tail), nil, &reply) })
	if err != nil {
		return nil, err
	}
	jobs := make([]job, len(reply.Jobs))
	for i, j := range reply.Jobs {
		jobs[i] = j.job()
	}
	return jobs, nil
}

func (r *rest) cancel(ctx context.Context, id int64) error {
	err := r.ask(ctx, func(version int) error {
		return r.call(ctx, http.MethodDelete, r.path(version, "job/"+strconv.FormatInt(id, 10)), nil, nil)
	})
	if unknownJob(err) {
		return nil
	}
	return err
}

func (r *rest) past(ctx context.Context, name string) ([]job, error) {
	var reply struct {
		Jobs []accountJob `json:"jobs"`
	}
	err := r.ask(ctx, func(version int) error { return r.call(ctx, http.MethodGet, r.pastPath(version, name), nil, &reply) })
	if noSuchPath(err) {
		return nil, errNoAccounting
	}
	if err != nil && !nothingFound(err) {
		return nil, err
	}
	var jobs []job
	for _, record := range reply.Jobs {
		// Who had no association with an account is nobody in the accounts.
		if j := record.job(); j.name == name && (r.user == "" || j.user == "" || j.user == r.user) {
			jobs = append(jobs, j)
		}
	}
	return jobs, nil
}

func (r *rest) pastPath(version int, name string) string {
	query := url.Values{"job_name": {name}, "start_time": {pastStart(version, time.Now())}}
	if r.user != "" && version >= 39 { // v0.0.38 has no such parameter
		query.Set("users", r.user)
	}
	path := "/slurmdb/v0.0." + strconv.Itoa(version) + "/jobs"
	if version >= 39 {
		path += "/"
	}
	return path + "?" + query.Encode()
}
