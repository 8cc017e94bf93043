// Package slurmtest starts a Slurm of one node for tests: slurmctld, slurmd and slurmrestd, as Debian
// packages them, in a folder and on ports of its own. It needs no munge, no systemd and no root.
package slurmtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	patience = 30 * time.Second
	// CPUs is how many the node has, as far as Slurm knows.
	CPUs = 64
	// Nobody is whom slurmrestd, and so its jobs, run as where the tests run as root: it refuses root.
	Nobody = "nobody"
)

// Cluster is a running Slurm. Its partitions are main (the default), low, whose jobs those of high push back into the
// queue, expendable, whose jobs those of high end, and idle, whose jobs never start.
type Cluster struct {
	Dir   string // that every user can read
	Conf  string // slurm.conf
	Spool string // an empty folder that every user can write to
	Node  string

	ports      [4]int // of slurmctld, slurmd, slurmdbd, MariaDB
	accounts   bool
	tokens     bool
	database   *daemon
	dbd        *daemon
	controller *daemon
	slurmd     *daemon
	restd      *daemon
}

// Missing names the programs that are not installed.
func Missing() []string {
	var missing []string
	for _, name := range []string{
		"slurmctld", "slurmd", "slurmrestd", "sbatch", "squeue", "scancel", "scontrol", "slurmdbd", "sacct", "mariadbd", "mariadb-install-db",
	} {
		if _, err := find(name); err != nil {
			missing = append(missing, name)
		}
	}
	return missing
}

// Start starts a Slurm that ends with the test.
func Start(t testing.TB) *Cluster {
	t.Helper()
	return start(t, New)
}

// StartWithAccounts starts one with slurmdbd and its database, which takes some seconds.
func StartWithAccounts(t testing.TB) *Cluster {
	t.Helper()
	return start(t, NewWithAccounts)
}

// StartWithTokens starts one that takes JSON Web Tokens.
func StartWithTokens(t testing.TB) *Cluster {
	t.Helper()
	if plugins, _ := filepath.Glob("/usr/lib*/*/slurm*/auth_jwt.so"); plugins == nil {
		missing(t, "slurm-wlm-jwt-plugin")
	}
	return start(t, func() (*Cluster, error) { return bring(&Cluster{tokens: true}) })
}

func missing(t testing.TB, what ...string) {
	t.Helper()
	text := fmt.Sprintf("not installed: %s (`make setup` does it)", strings.Join(what, ", "))
	if os.Getenv("CI") != "" {
		t.Fatal(text)
	}
	t.Skip(text)
}

func start(t testing.TB, make func() (*Cluster, error)) *Cluster {
	t.Helper()
	if programs := Missing(); programs != nil {
		missing(t, programs...)
	}
	c, err := make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Logs())
		}
		c.Stop()
	})
	return c
}

// New starts a Slurm; Stop has to be called.
func New() (*Cluster, error) { return bring(&Cluster{}) }

// NewWithAccounts starts a Slurm with slurmdbd; Stop has to be called.
func NewWithAccounts() (*Cluster, error) { return bring(&Cluster{accounts: true}) }

func bring(c *Cluster) (_ *Cluster, err error) {
	dir, err := os.MkdirTemp("", "slurmtest-")
	if err != nil {
		return nil, err
	}
	c.Dir, c.Conf, c.Spool = dir, filepath.Join(dir, "slurm.conf"), filepath.Join(dir, "shared")
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, c.Logs())
			c.Stop()
		}
	}()
	if err := c.configure(); err != nil {
		return nil, err
	}
	if c.accounts {
		if err := c.startAccounts(); err != nil {
			return nil, err
		}
	}
	if err := c.StartController(); err != nil {
		return nil, err
	}
	if err := c.StartNode(); err != nil {
		return nil, err
	}
	return c, c.until("the node is idle", func() bool {
		out, _ := c.Command("sinfo", "--noheader", "--format=%T")
		return strings.TrimSpace(strings.SplitN(out, "\n", 2)[0]) == "idle"
	})
}

func (c *Cluster) configure() error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	c.Node, _, _ = strings.Cut(host, ".")
	me, err := user.Current()
	if err != nil {
		return err
	}
	if err := os.Chmod(c.Dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"state", "slurmd", "shared", "rest"} {
		if err := os.Mkdir(filepath.Join(c.Dir, name), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(c.Spool, 0o777); err != nil {
		return err
	}
	if c.ports, err = freePorts(); err != nil {
		return err
	}
	accounting := "AccountingStorageType=accounting_storage/none"
	if c.accounts {
		accounting = fmt.Sprintf(accountingConfiguration, c.ports[2])
	}
	if c.tokens {
		key := filepath.Join(c.Dir, "state", "jwt.key")
		if err := os.WriteFile(key, []byte(rand.Text()+rand.Text()), 0o600); err != nil {
			return err
		}
		accounting += "\nAuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=" + key
	}
	text := fmt.Sprintf(configuration, c.Node, c.ports[0], c.ports[1], me.Username, c.Dir, CPUs, accounting)
	return os.WriteFile(c.Conf, []byte(text), 0o644)
}

// freePorts finds four; all are held until all are known.
func freePorts() (ports [4]int, err error) {
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return ports, err
		}
		defer func() { _ = l.Close() }()
		ports[i] = l.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}

// StartController starts slurmctld; with more arguments, such as -c, with those.
func (c *Cluster) StartController(more ...string) (err error) {
	if c.controller, err = c.spawn("slurmctld", nil, nil, append([]string{"-D", "-f", c.Conf}, more...)...); err != nil {
		return err
	}
	return c.until("slurmctld answers", func() bool {
		out, _ := c.Command("scontrol", "ping")
		return strings.Contains(out, "is UP")
	})
}

// KillController ends slurmctld as a crash does: of the last seconds it has saved nothing.
func (c *Cluster) KillController() { c.controller.kill() }

// StopController ends slurmctld as a restart does.
func (c *Cluster) StopController() { c.controller.stop() }

// StartNode starts slurmd.
func (c *Cluster) StartNode() (err error) {
	c.slurmd, err = c.spawn("slurmd", nil, nil, "-D", "-N", c.Node, "-f", c.Conf)
	return err
}

// KillNode ends slurmd and all that runs on its node, as a node's crash does.
func (c *Cluster) KillNode() {
	c.slurmd.kill()
	c.reap(func(command string, environ []byte) bool {
		return command == "slurmstepd" || bytes.Contains(environ, []byte("\x00SLURM_JOB_ID="))
	})
}

// REST starts slurmrestd and returns its address. Its jobs belong to whoever is returned.
func (c *Cluster) REST() (url, username string, err error) {
	as, username, err := c.restUser()
	if err != nil {
		return "", "", err
	}
	socket, plugins := filepath.Join(c.Dir, "rest", "s"), "openapi/v0.0.38"
	if c.accounts {
		plugins += ",openapi/dbv0.0.38"
	}
	c.restd, err = c.spawn("slurmrestd", as, nil, "-f", c.Conf, "-a", "rest_auth/local", "-s", plugins, "unix:"+socket)
	if err != nil {
		return "", "", err
	}
	return "unix://" + socket, username, c.until("slurmrestd listens", func() bool {
		conn, err := net.Dial("unix", socket)
		return err == nil && conn.Close() == nil
	})
}

// RESTWithTokens starts a slurmrestd that asks for tokens, and returns its address. It runs as a user of its own; its
// jobs are whose tokens are sent.
func (c *Cluster) RESTWithTokens() (url string, err error) {
	as, _, err := c.restUser()
	if err != nil {
		return "", err
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(c.ports[2])) // slurmdbd's, which is not there
	c.restd, err = c.spawn("slurmrestd", as, []string{"SLURM_JWT=daemon"}, "-f", c.Conf, "-a", "rest_auth/jwt", "-s", "openapi/v0.0.38", address)
	if err != nil {
		return "", err
	}
	return "http://" + address, c.until("slurmrestd listens", func() bool { return listens(c.ports[2]) })
}

// Token is a JSON Web Token of a user's, as scontrol prints it.
func (c *Cluster) Token(username string, lifespan time.Duration) (string, error) {
	return c.Command("scontrol", "token", "username="+username, "lifespan="+strconv.Itoa(int(lifespan.Seconds())))
}

// restUser is whom slurmrestd runs as; nil for ourselves.
func (c *Cluster) restUser() (as *syscall.Credential, username string, err error) {
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			return nil, "", err
		}
		return nil, me.Username, nil
	}
	nobody, err := user.Lookup(Nobody)
	if err != nil {
		return nil, "", err
	}
	uid, _ := strconv.Atoi(nobody.Uid)
	gid, _ := strconv.Atoi(nobody.Gid)
	as = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	return as, Nobody, os.Chown(filepath.Join(c.Dir, "rest"), uid, gid)
}

// Command runs one of Slurm's commands and returns what it printed.
func (c *Cluster) Command(name string, args ...string) (string, error) {
	path, err := find(name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), "SLURM_CONF="+c.Conf)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return string(out), fmt.Errorf("%s %q: %w: %s", name, args, err, stderr.String())
	}
	return string(out), nil
}

// Stop ends the jobs and the daemons and removes the folder.
func (c *Cluster) Stop() {
	if c.controller.alive() && !c.slurmd.alive() {
		_ = c.StartNode() // which ends the jobs that it finds left over
	}
	if c.controller.alive() {
		_, _ = c.Command("scancel", "--full", "--signal=KILL", "--state=RUNNING")
		_, _ = c.Command("scancel", "--quiet", "--state=PENDING")
		_ = c.until("the jobs are gone", func() bool {
			out, err := c.Command("squeue", "--noheader", "--states=RUNNING,COMPLETING")
			return err == nil && strings.TrimSpace(out) == ""
		})
	}
	for _, d := range []*daemon{c.restd, c.slurmd, c.controller, c.dbd, c.database} {
		d.kill()
	}
	c.reap(func(string, []byte) bool { return true })
	_ = os.RemoveAll(c.Dir)
}

// Logs is the end of what the daemons wrote.
func (c *Cluster) Logs() string {
	var text strings.Builder
	for _, name := range []string{"slurmctld", "slurmd", "slurmrestd", "slurmdbd", "mariadbd"} {
		data, err := os.ReadFile(filepath.Join(c.Dir, name+".log"))
		if err == nil {
			fmt.Fprintf(&text, "%s:\n%s\n", name, data[max(len(data)-2000, 0):])
		}
	}
	return text.String()
}

func (c *Cluster) until(what string, done func() bool) error {
	deadline := time.Now().Add(patience)
	for !done() {
		if time.Now().After(deadline) {
			return fmt.Errorf("waited in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
