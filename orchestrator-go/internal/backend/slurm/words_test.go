package slurm

import (
	"errors"
	"testing"
)

func TestQueueLines(t *testing.T) {
	jobs, err := parseQueue("17|N/A|RUNNING|0|1|1795392827|1795396427|alice|n[1-2]|dspy-a|None\n" +
		"21|2-9%2|PENDING|0:0|0|N/A|N/A|alice||dspy-b|Nodes required for job are DOWN|DRAINED\n" +
		"21|1|FAILED|768|0|1795392827|1795392829|alice|n1|dspy-b|NonZeroExitCode\n" +
		"22|N/A|FAILED|0:9|0|1795392827|1795392829|alice|n1|dspy-c|None\n")
	if err != nil || len(jobs) != 4 {
		t.Fatalf("%v, %v", jobs, err)
	}
	if j := jobs[0]; j.id != 17 || j.index != "" || j.state != running || j.restarts != 1 || j.nodes != "n[1-2]" || !j.start.Equal(at(1795392827)) {
		t.Errorf("%+v", j)
	}
	if j := jobs[1]; j.index != "2-9%2" || j.state != pending || !j.start.IsZero() || j.reason != "Nodes required for job are DOWN|DRAINED" {
		t.Errorf("%+v", j)
	}
	if jobs[2].exit != (exitStatus{code: 3}) || jobs[3].exit != (exitStatus{signal: 9}) {
		t.Errorf("%+v", jobs[2:])
	}
	for _, bad := range []string{"17|N/A\n", "x|N/A|RUNNING|0|1|0|0|a|n|d|r\n"} {
		if _, err := parseQueue(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestAccountLines(t *testing.T) {
	jobs, err := parseAccounts("17|CANCELLED by 1000|0:15|1795392827|1795392829|n1|alice|dspy-a\n21_[2-4]|PENDING|0:0|Unknown|Unknown|None assigned|alice|dspy-b\n" +
		"21_1|OUT_OF_MEMORY|0:125|1795392827|1795392829|n1|alice|dspy-b\n")
	if err != nil || len(jobs) != 3 || jobs[0].state != cancelled || jobs[1].index != "2-4" || jobs[2].index != "1" || jobs[2].state != outOfMemory {
		t.Errorf("%+v, %v", jobs, err)
	}
}

const policyWords = "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"

// The commands' own words, as 22.05 prints them.
func TestWordsOfErrors(t *testing.T) {
	for words, want := range map[string]kind{
		"sbatch: error: Batch job submission failed: Invalid partition name specified":                             refused,
		"sbatch: error: invalid partition specified: x\nsbatch: error: Batch job submission failed: Invalid":       refused,
		"sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)":         unreachable,
		"sbatch: error: Batch job submission failed: Socket timed out on send/recv operation":                      unreachable,
		"sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received":                      unreachable,
		"sbatch: error: Batch job submission failed: Protocol authentication error":                                denied,
		"sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: " + policyWords:        notNow,
		"sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: " + policyWords: refused,
		"sbatch: error: Batch job submission failed: " + policyWords:                                               notNow,
		"": unreachable,
	} {
		if got := told("sbatch", words, errors.New("exit status 1")).(*failure); got.kind != want {
			t.Errorf("%q: got %d", words, got.kind)
		}
	}
	f := told("sbatch", "sbatch: error: x\nsbatch: error: Batch job submission failed: Invalid qos specification", errors.New("1")).(*failure)
	if f.message != "Invalid qos specification" {
		t.Errorf("%q", f.message)
	}
}

func TestArrays(t *testing.T) {
	for text, want := range map[string]int{"0-9%2": 10, "3": 1, "1,3,5-7": 5, "0-15:4": 4, "5,5,5": 1, "0-99999": 100_000} {
		if indices, err := expandArray(text); err != nil || len(indices) != want {
			t.Errorf("%s: %d, %v", text, len(indices), err)
		}
	}
	for _, text := range []string{"", "a", "-1", "9-0", "0-9:0", "0-999999999", "1%0", "1 2", "0-9;id", "1,,2"} {
		if indices, err := expandArray(text); err == nil {
			t.Errorf("%q: %d elements", text, len(indices))
		}
	}
}

func TestLimitsThatPassOverREST(t *testing.T) {
	for e, want := range map[restError]kind{{Number: 2050}: notNow, {Text: policyWords}: notNow, {Number: 2004}: refused} {
		if got := e.kind(); got != want {
			t.Errorf("%+v: got %d", e, got)
		}
	}
}
