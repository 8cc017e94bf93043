package slurm

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// control is what the backend asks of Slurm. Errors are *failure or the context's.
type control interface {
	// submit returns the new job's id. After any error but a refusal there may be a job all the same.
	submit(ctx context.Context, s submission) (int64, error)
	// find returns our user's jobs of this name that slurmctld knows, ended ones included.
	find(ctx context.Context, name string) ([]job, error)
	// status returns what slurmctld knows of jobs, by the id they were submitted under; of an array its
	// elements, those that still wait together in one. A job that it has forgotten is absent.
	status(ctx context.Context, ids []int64) (map[int64][]job, error)
	// cancel ends a job with all its elements. One that has ended, or is unknown, is no error.
	cancel(ctx context.Context, id int64) error
	// past returns what the accounting knows of our user's jobs of this name; errNoAccounting where there is none.
	past(ctx context.Context, name string) ([]job, error)
}

var errNoAccounting = errors.New("this Slurm keeps no accounts of jobs")

// submission is a job to be, the same for every control.
type submission struct {
	name    string
	comment string
	script  string
	env     []string // NAME=value
	stdin   string   // path, or /dev/null
	stdout  string
	stderr  string
	minutes int64 // 0: the partition's limit
	options jobOptions
}

// job is one record of Slurm's: a job, an element of an array, or the elements of an array that still wait.
type job struct {
	id       int64  // that it was submitted under: an array's for its elements
	index    string // of an array's element; of several that wait "2-9%2"
	name     string
	user     string
	state    state
	exit     exitStatus
	restarts int
	reason   string
	nodes    string
	start    time.Time
	end      time.Time
}

// exitStatus is what became of a batch script: an exit code, or a signal.
type exitStatus struct {
	code   int
	signal int
}

// waitStatus reads what wait(2) returns, which is how Slurm keeps an exit status.
func waitStatus(raw int64) exitStatus {
	return exitStatus{code: int(raw >> 8 & 0xff), signal: int(raw & 0x7f)}
}

// kind says what an error of Slurm's means to the caller.
type kind int

const (
	unreachable kind = iota // slurmctld did not answer; what was asked may have been done
	refused                 // it said no, and would again
	denied                  // it does not take us for who we say we are
	notNow                  // a limit that passes with time, such as of how many jobs there may be
)

// failure is an error of Slurm's, with its own words.
type failure struct {
	kind    kind
	message string
	cause   error
}

func (f *failure) Error() string {
	if f.cause == nil {
		return f.message
	}
	return fmt.Sprintf("%s: %v", f.message, f.cause)
}

func (f *failure) Unwrap() error { return f.cause }

// kindOf tells what an error means; one that is not of Slurm's own is a failure to reach it.
func kindOf(err error) kind {
	var f *failure
	if errors.As(err, &f) {
		return f.kind
	}
	return unreachable
}
