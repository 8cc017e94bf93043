// Package queuetest starts real stores for tests, and is what a queue on any of them must hold to.
package queuetest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const startPatience = 15 * time.Second

// Server is a store in a process of its own, on a loopback port; it ends with the test.
type Server struct {
	Addr      string
	Token     string // empty where the store takes none
	TokenFile string
	argv      []string
	cmd       *exec.Cmd
}

// StartRedis starts Debian's redis-server with every write on disk before its reply.
func StartRedis(t testing.TB) *Server {
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is missing; install Debian's package redis-server")
	}
	port := freePort(t)
	s := &Server{Addr: "127.0.0.1:" + port, argv: []string{
		bin, "--bind", "127.0.0.1", "--port", port, "--dir", t.TempDir(), "--save", "",
		"--appendonly", "yes", "--appendfsync", "always",
	}}
	return s.start(t)
}

// StartRedDB starts the binary named by REDDB_BIN, or the one that the build puts into dist/bin.
func StartRedDB(t testing.TB) *Server {
	dir, port := t.TempDir(), freePort(t)
	s := &Server{Addr: "127.0.0.1:" + port, Token: "store-token-of-the-tests", TokenFile: filepath.Join(dir, "token")}
	if err := os.WriteFile(s.TokenFile, []byte(s.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	s.argv = []string{
		Binary(t, "REDDB_BIN", "reddb"), "serve", "--data-dir", filepath.Join(dir, "data"), "--token-file", s.TokenFile,
		"--resp-listen", s.Addr, "--http-listen", "127.0.0.1:" + freePort(t),
	}
	return s.start(t)
}

// Binary finds a program of the project: the variable's value, or what the build put into dist/bin.
func Binary(t testing.TB, variable, name string) string {
	if path := os.Getenv(variable); path != "" {
		return path
	}
	_, here, _, _ := runtime.Caller(0)
	path := filepath.Join(filepath.Dir(here), "../../../../dist/bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s is not built: build it into dist/bin, or set %s to its path", name, variable)
	}
	return path
}

func (s *Server) start(t testing.TB) *Server {
	s.Start(t)
	t.Cleanup(func() { s.Kill(t) })
	return s
}

// Start starts the process, again after Kill, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	s.cmd = exec.Command(s.argv[0], s.argv[1:]...)
	s.cmd.Stderr = os.Stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", s.argv[0], err)
	}
	db := s.Client()
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	Eventually(t, startPatience, s.argv[0]+" answers", func() bool {
		return db.Ping(context.Background()).Err() == nil
	})
}

// Kill ends the process as a crash would.
func (s *Server) Kill(t testing.TB) {
	if s.cmd == nil {
		return
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = s.cmd.Wait() // reports the kill
	s.cmd = nil
}

// Client returns a new client of the store; the caller closes it.
func (s *Server) Client() *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr, Password: s.Token, Protocol: 2, DisableIdentity: true, MaxRetries: -1})
}

// URL is the store's as the orchestrator takes it.
func (s *Server) URL() string { return "redis://" + s.Addr }

func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// Eventually asks every few milliseconds until done holds, and fails the test when it does not in time.
func Eventually(t testing.TB, patience time.Duration, what string, done func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for ticks := time.NewTicker(5 * time.Millisecond); ; {
		if done() {
			ticks.Stop()
			return
		}
		select {
		case <-ticks.C:
		case <-deadline:
			ticks.Stop()
			t.Fatalf("gave up after %v waiting until: %s", patience, what)
		}
	}
}
