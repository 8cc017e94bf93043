package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	patience = 2 * time.Minute
	// tickRate is the kernel's USER_HZ, which is the same on all machines that Go runs on.
	tickRate = 100
)

func machine() string {
	name := "unknown processor"
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == "model name" {
				name = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s", runtime.NumCPU(), name)
}

func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// process is a program that dies with the benchmark.
type process struct {
	argv []string
	cmd  *exec.Cmd
}

func spawn(argv ...string) (*process, error) {
	p := &process{argv: argv}
	return p, p.start()
}

func (p *process) start() error {
	p.cmd = exec.Command(p.argv[0], p.argv[1:]...)
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("starting %s: %w", p.argv[0], err)
	}
	return nil
}

// kill ends it with SIGKILL, if it has not ended.
func (p *process) kill() {
	if err := p.cmd.Process.Kill(); err != nil {
		fmt.Fprintf(os.Stderr, "stopping %s: %v\n", p.argv[0], err)
	}
	_ = p.cmd.Wait() // reports the kill
}

// cpu is the processor time that it has used, of all its threads.
func (p *process) cpu() time.Duration { return cpuOf(p.cmd.Process.Pid) }

// cpuOf reads what proc(5) calls utime and stime; 0 for a process that is gone.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(text), ") ") // the name may hold blanks
	var ticks int64
	for _, field := range strings.Fields(after)[11:13] {
		n, _ := strconv.ParseInt(field, 10, 64) // the kernel's own number
		ticks += n
	}
	return time.Duration(ticks) * time.Second / tickRate
}

// perTask is microseconds.
func perTask(d time.Duration, tasks int) float64 { return float64(d.Microseconds()) / float64(tasks) }

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// poll asks until done.
func poll(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("gave up waiting for %s", what))
	defer cancel()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		ok, err := done()
		if ok || err != nil {
			tick.Stop()
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return context.Cause(ctx)
		}
	}
}
