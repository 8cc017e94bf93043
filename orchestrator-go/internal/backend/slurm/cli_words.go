package slurm

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// queueFields are what squeue is asked for. None but the last, the reason, can hold the separator; what a
// task brought, such as its arguments, is not asked for at all.
var queueFields = []string{
	"arrayjobid", "arraytaskid", "state", "exit_code", "restartcnt", "starttime", "endtime", "username", "nodelist", "name", "reason",
}

func queueArguments() []string {
	return []string{"--noheader", "--states=all", "--all", "--Format=" + strings.Join(queueFields, ":|,") + ":"}
}

func parseQueue(out string) ([]job, error) {
	var jobs []job
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "|", len(queueFields))
		if len(f) != len(queueFields) {
			return nil, &failure{message: "squeue printed what cannot be read", cause: fmt.Errorf("%.200q", line)}
		}
		id, err := strconv.ParseInt(f[0], 10, 64)
		if err != nil {
			return nil, &failure{message: "squeue printed what cannot be read", cause: err}
		}
		restarts, _ := strconv.Atoi(f[4])
		jobs = append(jobs, job{
			id: id, index: elementOf(f[1]), state: parseState(f[2]), exit: parseExit(f[3]), restarts: restarts,
			start: parseTime(f[5]), end: parseTime(f[6]), user: f[7], nodes: f[8], name: f[9], reason: strings.TrimSpace(f[10]),
		})
	}
	return jobs, nil
}

func elementOf(text string) string {
	if text == "N/A" {
		return ""
	}
	return text
}

// parseExit reads "3:0" (code and signal) or a wait status, which squeue printed up to 22.05.
func parseExit(text string) exitStatus {
	code, signal, pair := strings.Cut(text, ":")
	number, _ := strconv.ParseInt(code, 10, 64)
	if !pair {
		return waitStatus(number)
	}
	by, _ := strconv.Atoi(signal)
	return exitStatus{code: int(number), signal: by}
}

// parseTime reads seconds since 1970; anything else ("N/A") is no time.
func parseTime(text string) time.Time {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil || seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0)
}

var accountFields = []string{"JobID", "State", "ExitCode", "Start", "End", "NodeList", "User", "JobName"}

func parseAccounts(out string) ([]job, error) {
	var jobs []job
	for line := range strings.Lines(out) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), "|", len(accountFields))
		if len(f) != len(accountFields) {
			return nil, &failure{message: "sacct printed what cannot be read", cause: fmt.Errorf("%.200q", line)}
		}
		number, index, _ := strings.Cut(f[0], "_")
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, &failure{message: "sacct printed what cannot be read", cause: err}
		}
		jobs = append(jobs, job{
			id: id, index: strings.Trim(index, "[]"), state: parseState(f[1]), exit: parseExit(f[2]),
			start: parseTime(f[3]), end: parseTime(f[4]), nodes: f[5], user: f[6], name: f[7],
		})
	}
	return jobs, nil
}

// Slurm's commands tell why they failed in words only. These are its texts for errors that pass or that are about
// us, not about what was asked (slurm_errno.c, 22.05 to 26.05).
var (
	wordsUnreachable = []string{
		"unable to contact slurm controller", "connection refused", "connection failure", "connect failure", "socket timed out",
		"timed out", "zero bytes were transmitted", "in standby mode", "resource temporarily unavailable", "temporarily unable",
		"message receive failure", "message send failure", "communication shutdown", "no route to host", "can't find an address",
		"failed to contact", "unexpected message", "invalid or incomplete", "out of memory", "unable to establish",
	}
	wordsDenied = []string{
		"authentication", "invalid authentication credential", "invalid user id", "access/permission denied", "munge",
		"invalid job credential", "user id missing", "plugin initialization failed",
	}
	// The first is the text of one error for limits of both sorts; the second, of those that another job's end lifts.
	// sbatch names the very limit above it, and what a job is too large for it stays too large for.
	wordsNotNow   = []string{"accounting/qos policy", "submitjob"}
	wordsTooLarge = []string{"perjoblimit", "pernodelimit"}
)

// told makes an error of a command's words.
func told(command, words string, cause error) error {
	words = strings.TrimSpace(words)
	lower := strings.ToLower(words)
	f := &failure{kind: refused, message: ownWords(words), cause: fmt.Errorf("%s: %w: %.500q", command, cause, words)}
	switch {
	case words == "" || containsAny(lower, wordsUnreachable):
		f.kind = unreachable
	case containsAny(lower, wordsDenied):
		f.kind = denied
	case command == "sbatch" && containsAny(lower, wordsNotNow) && !containsAny(lower, wordsTooLarge):
		f.kind = notNow
	case command != "sbatch" && !unknownJob(f):
		f.kind = unreachable // a question has nothing that could be refused
	}
	return f
}

// ownWords is the last line of what a command said, without its name in front.
func ownWords(words string) string {
	line := strings.TrimSpace(words[strings.LastIndexByte(words, '\n')+1:])
	for _, prefix := range []string{"sbatch: ", "error: ", "fatal: ", "Batch job submission failed: "} {
		line = strings.TrimPrefix(line, prefix)
	}
	return line
}

func containsAny(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func unknownJob(err error) bool {
	var f *failure
	return errors.As(err, &f) && containsAny(strings.ToLower(f.Error()), []string{
		"invalid job id specified", "already completing or completed", "job has finished",
	})
}

// nothingFound is how slurmdbd's REST API puts that there are no such jobs.
func nothingFound(err error) bool {
	var f *failure
	return errors.As(err, &f) && containsAny(strings.ToLower(f.Error()), []string{"nothing found"})
}

func noAccounting(err error) bool {
	var f *failure
	return errors.As(err, &f) && containsAny(strings.ToLower(f.Error()), []string{
		"accounting storage is disabled",
	})
}
