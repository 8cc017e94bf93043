package slurm

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/queue"
)

var update = flag.Bool("update", false, "write testdata/rest/submit-*.json anew")

// shapes are the versions whose replies differ; see testdata/rest/README.md.
var shapes = []int{38, 39, 40, 42, 44, 45}

func fixture(t *testing.T, name string, version int, into any) {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("testdata/rest/%s-v0.0.%d.json", name, version))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func at(seconds int64) time.Time { return time.Unix(seconds, 0) }

func TestShapesOfJobs(t *testing.T) {
	base := job{name: "dspy-a", user: "alice"}
	with := func(change func(*job)) job { j := base; change(&j); return j }
	want := []job{
		with(func(j *job) {
			j.id, j.state, j.restarts, j.reason, j.nodes, j.start, j.end = 17, running, 1, "None", "n1", at(1795392827), at(1795396427)
		}),
		with(func(j *job) {
			j.id, j.state, j.reason, j.nodes, j.start, j.end = 18, failed, "NonZeroExitCode", "n1", at(1795392827), at(1795392829)
			j.exit.code = 3
		}),
		with(func(j *job) {
			j.id, j.state, j.reason, j.nodes, j.start, j.end = 19, failed, "JobLaunchFailure", "n2", at(1795392827), at(1795392830)
			j.exit.signal = 9
		}),
		with(func(j *job) {
			j.id, j.state, j.reason, j.nodes, j.start, j.end = 20, completing, "NodeDown", "n2", at(1795392827), at(1795392830)
		}),
		with(func(j *job) {
			j.id, j.index, j.state, j.reason, j.nodes, j.start, j.end = 21, "0", completed, "None", "n1", at(1795392827), at(1795392828)
		}),
		with(func(j *job) { j.id, j.index, j.state, j.reason = 21, "1-9%2", pending, "JobArrayTaskLimit" }),
	}
	for _, version := range shapes {
		t.Run(fmt.Sprintf("v0.0.%d", version), func(t *testing.T) {
			var reply struct {
				Jobs []restJob `json:"jobs"`
			}
			fixture(t, "jobs", version, &reply)
			for i, j := range reply.Jobs {
				if got := j.job(); got != want[i] {
					t.Errorf("got %+v\nwant %+v", got, want[i])
				}
			}
			if len(reply.Jobs) != len(want) {
				t.Errorf("%d jobs", len(reply.Jobs))
			}
		})
	}
}

func TestShapesOfAccounts(t *testing.T) {
	for _, version := range shapes {
		t.Run(fmt.Sprintf("v0.0.%d", version), func(t *testing.T) {
			var reply struct {
				Jobs []accountJob `json:"jobs"`
			}
			fixture(t, "accounts", version, &reply)
			var got []job
			for _, j := range reply.Jobs {
				got = append(got, j.job())
			}
			for i, want := range []job{
				{id: 18, state: failed, exit: exitStatus{code: 3}}, {id: 19, state: failed, exit: exitStatus{signal: 9}},
				{id: 21, index: "0", state: completed},
			} {
				if got[i].id != want.id || got[i].index != want.index || got[i].state != want.state || got[i].exit != want.exit || got[i].user != "alice" {
					t.Errorf("got %+v, want %+v", got[i], want)
				}
			}
		})
	}
}

// What is sent is kept as files, so that it can be held against Slurm's schemas.
func TestShapesOfSubmissions(t *testing.T) {
	s := submission{
		name: "dspy-a", comment: "dspy-agent token=7 attempt=1", script: "#!/bin/sh\n", env: []string{"PATH=/bin", "A=b=c\nd"},
		stdin: "/spool/a/stdin", stdout: "/spool/a/%j.out", stderr: "/spool/a/%j.err", minutes: 2,
		options: jobOptions{queue.Slurm{
			Account: "lab", Partition: "main", QOS: "high", Constraint: "a&b", Reservation: "r", Gres: "gpu:a100:2,shard:1", Array: "0-9%2",
			Nodes: 2, TasksPerNode: 3, CPUsPerTask: 4, MemoryMB: 500, Requeue: true,
		}},
	}
	for _, version := range shapes {
		path := fmt.Sprintf("testdata/rest/submit-v0.0.%d.json", version)
		got, err := json.MarshalIndent(submitBody(version, s), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var sent, want any
		if err := json.Unmarshal(got, &sent); err != nil {
			t.Fatal(err)
		}
		fixture(t, "submit", version, &want)
		if !reflect.DeepEqual(sent, want) {
			t.Errorf("v0.0.%d: got %s", version, got)
		}
	}
}

func TestErrorNumbers(t *testing.T) {
	for number, want := range map[int64]kind{
		2000: refused, 2045: refused, 2050: notNow, 9202: refused,
		1007: denied, 2002: denied, 6000: denied,
		1001: unreachable, 1800: unreachable, 2027: unreachable, 5004: unreachable, 7000: unreachable, 110: unreachable,
	} {
		if got := (restError{Number: number, Text: "words"}).kind(); got != want {
			t.Errorf("%d: got %d, want %d", number, got, want)
		}
	}
}
