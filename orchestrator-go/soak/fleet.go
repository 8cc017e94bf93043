package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/queue"
)

const startPatience = 2 * time.Minute

// process is a program that is started again after each kill.
type process struct {
	name string // its role, and a number
	argv []string
	addr string
	log  string
	up   func(context.Context) error

	mu  sync.Mutex
	cmd *exec.Cmd
}

// fleet are all processes of a soak.
type fleet struct {
	opt           options
	store         *process
	orchestrators []*process
	runners       []*process
	db            *redis.Client
	queue         *queue.Redis
	memory        *memory
}

// newFleet prepares all processes.
func newFleet(ctx context.Context, o options) (*fleet, error) {
	f := &fleet{opt: o, memory: newMemory()}
	token := filepath.Join(o.dir, "token")
	if err := os.WriteFile(token, []byte(secret), 0o600); err != nil {
		return nil, err
	}
	if o.orchestrator == "" {
		o.orchestrator = filepath.Join(o.dir, "orchestrator")
		build := exec.CommandContext(ctx, "go", "build", "-o", o.orchestrator, "./cmd/orchestrator")
		build.Dir = o.source
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the orchestrator: %w\n%s", err, out)
		}
	}
	store, err := f.process("reddb")
	if err != nil {
		return nil, err
	}
	store.argv = []string{
		o.reddb, "serve", "--data-dir", filepath.Join(o.dir, "data"), "--token-file", token,
		"--resp-listen", store.addr, "--http-listen", "127.0.0.1:0",
	}
	f.store = store
	f.db = redis.NewClient(&redis.Options{
		Addr: store.addr, Password: secret, Protocol: 2, DisableIdentity: true, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true,
	})
	redis.SetLogger(silent{}) // the store goes away all the time here, and every call says so
	store.up = func(ctx context.Context) error { return f.db.Ping(ctx).Err() }
	if f.queue, err = queue.NewRedis(f.db, queue.Options{Prefix: "orchestrator/"}); err != nil {
		return nil, err
	}
	return f, f.prepare(token, o.orchestrator)
}

type silent struct{}

// Printf implements the client library's logger.
func (silent) Printf(context.Context, string, ...any) {}

func (f *fleet) prepare(token, program string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var urls []string
	for i := range f.opt.runners {
		p, err := f.process(fmt.Sprint("runner-", i))
		if err != nil {
			return err
		}
		p.argv = []string{self, runnerCommand, "-listen", p.addr, "-file", f.sightings(p), "-faults", fmt.Sprint(f.opt.faults)}
		p.up = probe("http://" + p.addr + "/v1/info")
		f.runners, urls = append(f.runners, p), append(urls, "http://"+p.addr)
	}
	for i := range f.opt.orchestrators {
		p, err := f.process(fmt.Sprint("orchestrator-", i))
		if err != nil {
			return err
		}
		p.argv = []string{
			program, "serve", "--listen", p.addr, "--reddb", "redis://" + f.store.addr, "--reddb-token-file", token,
			"--runners", strings.Join(urls, ","), "--runner-token-file", token, "--token-file", token,
			"--workers", fmt.Sprint(f.opt.workers), "--max-queued", fmt.Sprint(f.opt.queued), "--result-ttl", "240h", "--log-level", "warn",
		}
		p.up = probe("http://" + p.addr + "/readyz")
		f.orchestrators = append(f.orchestrators, p)
	}
	return nil
}

func (f *fleet) sightings(runner *process) string {
	return filepath.Join(f.opt.dir, runner.name+".sights")
}

func (f *fleet) process(name string) (*process, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &process{name: name, addr: l.Addr().String(), log: filepath.Join(f.opt.dir, name+".log")}, l.Close()
}

func (f *fleet) all() []*process {
	return append(append([]*process{f.store}, f.runners...), f.orchestrators...)
}

func (f *fleet) startAll() error {
	for _, p := range f.all() {
		if err := errors.Join(p.start(), p.await()); err != nil {
			return err
		}
	}
	f.memory.watch(f.all())
	return nil
}

func (f *fleet) stop() {
	f.memory.stop()
	f.queue.Close()
	for _, p := range f.all() {
		p.kill()
	}
	_ = f.db.Close() // its server is gone
}

func probe(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s answers %d", url, resp.StatusCode)
		}
		if resp != nil {
			err = errors.Join(err, resp.Body.Close())
		}
		return err
	}
}

// start starts the process.
func (p *process) start() error {
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(p.argv[0], p.argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	// A group of its own: an interrupt at the terminal is for the soak, which ends the others.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := errors.Join(cmd.Start(), log.Close()); err != nil {
		return fmt.Errorf("starting %s: %w", p.name, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cmd = cmd
	return nil
}

// await waits until it answers.
func (p *process) await() error {
	for until := time.Now().Add(startPatience); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		err := p.up(ctx)
		cancel()
		if err == nil {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%s does not answer; its log is %s: %w", p.name, p.log, err)
		}
	}
}

// kill ends the process as a crash would.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // reports the kill
	p.cmd = nil
}

// signal sends a signal; a process that is gone is none of its business.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s)
	}
}

func (p *process) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}
