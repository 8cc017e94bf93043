package slurmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// daemon is a process that was started here, and is ended by its id.
type daemon struct {
	cmd  *exec.Cmd
	over chan struct{}
}

func (c *Cluster) spawn(name string, as *syscall.Credential, args ...string) (*daemon, error) {
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
	cmd.Env = []string{"PATH=" + searched, "SLURM_CONF=" + c.Conf, "LC_ALL=C"}
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
