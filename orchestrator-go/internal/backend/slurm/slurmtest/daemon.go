package slurmtest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
)

// daemon is a process that was started here, and is ended by its id.
type daemon struct {
	cmd  *exec.Cmd
	over chan struct{}
}

func (c *Cluster) spawn(name string, as *syscall.Credential, env []string, args ...string) (*daemon, error) {
	path, err := find(name)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(c.Dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = c.Dir, log, log
	cmd.Env = append(env, "PATH="+searched, "SLURM_CONF="+c.Conf, "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as, Setpgid: true}
	err = cmd.Start()
	_ = log.Close() // the process has its own
	if err != nil {
		return nil, err
	}
	d := &daemon{cmd: cmd, over: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // reports the kill
		close(d.over)
	}()
	return d, nil
}

func (d *daemon) alive() bool {
	if d == nil {
		return false
	}
	select {
	case <-d.over:
		return false
	default:
		return true
	}
}

func (d *daemon) kill() {
	if d.alive() {
		_ = d.cmd.Process.Kill()
		<-d.over
	}
}

// stop lets a daemon save its state.
func (d *daemon) stop() {
	if d.alive() {
		_ = d.cmd.Process.Signal(syscall.SIGTERM)
		<-d.over
	}
}

// reap ends what daemons that were killed have left, slurmstepd and jobs: all of it has the path of our configuration,
// which nothing else has, in its environment.
func (c *Cluster) reap(which func(command string, environ []byte) bool) {
	environs, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environs {
		environ, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(environ, []byte("SLURM_CONF="+c.Conf+"\x00")) {
			continue
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "comm"))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && pid != os.Getpid() && which(string(bytes.TrimSpace(command)), environ) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// searched are the folders of programs, sbin among them, which is not on everybody's PATH.
const searched = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, folder := range filepath.SplitList(searched) {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	return "", exec.ErrNotFound
}
