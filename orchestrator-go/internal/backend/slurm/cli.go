package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxReply  = 256 << 20
	maxWords  = 4 << 10 // of Slurm's own, kept of an error
	idsPerAsk = 5000    // what fits into one argument
)

// cli speaks to Slurm by its commands. What a user gave is only ever the value of one --option=value; the job's
// environment goes through a file descriptor, so that no variable of a task's can change what a command does.
type cli struct {
	bin     string // folder of the commands; "" for the PATH
	env     []string
	timeout time.Duration
}

// inherited are the variables of our own environment that Slurm's commands are given.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TZ", "LD_LIBRARY_PATH", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT", "SLURM_CLUSTERS",
}

func newCLI(opt Options) *cli {
	// Seconds since 1970 whatever the time zone, and the indices of an array in full.
	env := []string{"LC_ALL=C", "SLURM_TIME_FORMAT=%s", "SLURM_BITSTR_LEN=0"}
	for _, name := range inherited {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	if opt.Conf != "" {
		env = append(env, "SLURM_CONF="+opt.Conf)
	}
	return &cli{bin: opt.Bin, env: env, timeout: opt.CallTimeout}
}

func (c *cli) submit(ctx context.Context, s submission) (int64, error) {
	file, err := envFile(s.env)
	if err != nil {
		return 0, &failure{kind: refused, message: "the job's environment cannot be handed over", cause: err}
	}
	defer func() { _ = file.Close() }() // only ever read from
	out, err := c.run(ctx, strings.NewReader(s.script), file, "sbatch", sbatchArguments(s)...)
	if err != nil {
		return 0, err
	}
	// "17" or "17;cluster", below whatever a submit plugin says.
	last := out[strings.LastIndexByte(strings.TrimSpace(out), '\n')+1:]
	number, _, _ := strings.Cut(strings.TrimSpace(last), ";")
	id, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return 0, &failure{message: "sbatch printed no job id", cause: fmt.Errorf("%.200q", out)}
	}
	return id, nil
}

func sbatchArguments(s submission) []string {
	args := []string{
		"--parsable", "--export-file=3", "--chdir=/", "--open-mode=truncate",
		"--job-name=" + s.name, "--comment=" + s.comment,
		"--input=" + s.stdin, "--output=" + s.stdout, "--error=" + s.stderr,
	}
	text := func(option, value string) {
		if value != "" {
			args = append(args, "--"+option+"="+value)
		}
	}
	number := func(option string, value int64) {
		if value > 0 {
			text(option, strconv.FormatInt(value, 10))
		}
	}
	o := s.options
	number("time", s.minutes)
	text("account", o.Account)
	text("partition", o.Partition)
	text("qos", o.QOS)
	text("constraint", o.Constraint)
	text("reservation", o.Reservation)
	text("gres", o.Gres)
	text("array", o.Array)
	number("nodes", int64(o.Nodes))
	number("ntasks-per-node", int64(o.TasksPerNode))
	number("cpus-per-task", int64(o.CPUsPerTask))
	if o.MemoryMB > 0 {
		text("mem", strconv.FormatInt(o.MemoryMB, 10)+"M")
	}
	if o.Requeue {
		return append(args, "--requeue")
	}
	return append(args, "--no-requeue")
}

// envFile holds NAME=value, each ended by NUL, in a file that has no name.
func envFile(env []string) (*os.File, error) {
	f, err := os.CreateTemp("", "dspy-slurm-env-")
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(strings.Join(env, "\x00") + "\x00")
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err := errors.Join(err, os.Remove(f.Name())); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func (c *cli) find(ctx context.Context, name string) ([]job, error) {
	out, err := c.run(ctx, nil, nil, "squeue", append(queueArguments(), "--me", "--name="+name)...)
	if err != nil {
		return nil, err
	}
	return parseQueue(out)
}

func (c *cli) status(ctx context.Context, ids []int64) (map[int64][]job, error) {
	found := map[int64][]job{}
	for part := range slices.Chunk(ids, idsPerAsk) {
		out, err := c.run(ctx, nil, nil, "squeue", append(queueArguments(), "--jobs="+joined(part))...)
		if err != nil {
			if unknownJob(err) { // of one job; of several, squeue leaves out those it does not know
				continue
			}
			return nil, err
		}
		jobs, err := parseQueue(out)
		if err != nil {
			return nil, err
		}
		for _, j := range jobs {
			found[j.id] = append(found[j.id], j)
		}
	}
	return found, nil
}

func joined(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(texts, ",")
}

func (c *cli) cancel(ctx context.Context, id int64) error {
	_, err := c.run(ctx, nil, nil, "scancel", "--quiet", strconv.FormatInt(id, 10))
	if unknownJob(err) {
		return nil
	}
	return err
}

func (c *cli) past(ctx context.Context, name string) ([]job, error) {
	out, err := c.run(ctx, nil, nil, "sacct", "--noheader", "--parsable2", "--allocations", "--duplicates",
		"--name="+name, "--starttime=now-30days", "--format="+strings.Join(accountFields, ","))
	if err != nil {
		if noAccounting(err) {
			return nil, errNoAccounting
		}
		return nil, err
	}
	return parseAccounts(out)
}

// run runs one of Slurm's commands and returns what it printed. Errors: *failure, or the context's.
func (c *cli) run(ctx context.Context, stdin io.Reader, extra *os.File, command string, args ...string) (string, error) {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	path := command
	if c.bin != "" {
		path = filepath.Join(c.bin, command)
	}
	cmd := exec.CommandContext(bounded, path, args...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = c.env, stdin, time.Second
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	out, words := &limited{room: maxReply}, &limited{room: maxWords}
	cmd.Stdout, cmd.Stderr = out, words
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err == nil && !out.cut:
		return out.text.String(), nil
	case err == nil:
		err = errors.New("it printed too much")
	case bounded.Err() != nil:
		err = fmt.Errorf("no answer within %v", c.timeout)
	}
	return "", told(command, words.text.String(), err)
}

// limited keeps the first bytes of what is written.
type limited struct {
	text bytes.Buffer
	room int
	cut  bool
}

func (l *limited) Write(data []byte) (int, error) {
	keep := min(len(data), l.room-l.text.Len())
	l.cut = l.cut || keep < len(data)
	l.text.Write(data[:keep])
	return len(data), nil
}
