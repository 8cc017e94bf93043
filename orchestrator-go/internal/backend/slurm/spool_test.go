package slurm

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"dspyagent.io/orchestrator/internal/backend"
	"dspyagent.io/orchestrator/internal/queue"
)

func TestSweep(t *testing.T) {
	b := made(t, Options{Spool: t.TempDir(), KeepOutput: time.Hour}, nil)
	kept, old := filepath.Join(b.opt.Spool, "kept"), filepath.Join(b.opt.Spool, "old")
	for _, folder := range []string{kept, old} {
		if err := os.MkdirAll(filepath.Join(folder, "work"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := take(old); err != nil {
		t.Fatal(err)
	}
	if err := b.Sweep(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Error("it was removed too early")
	}
	if err := b.Sweep(time.Now().Add(2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Error("it was not removed")
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error("what has no result yet was removed")
	}
}

// A job can put what it likes into its folder; a link to a secret of the orchestrator's is not followed.
func TestLinksAreNotFollowed(t *testing.T) {
	folder := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	open(t, secret)
	if err := os.Symlink(secret, filepath.Join(folder, "17.out")); err != nil {
		t.Fatal(err)
	}
	if err := fill(&queue.Result{}, folder, "17", 0); err == nil {
		t.Error("the link was followed")
	}
	if _, _, err := readFrom(filepath.Join(folder, "17.out"), 0); err == nil {
		t.Error("the link was followed")
	}
}

// Nor is anything written through a link, and nobody is waited for at a pipe.
func TestNothingIsWrittenThroughLinks(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("ours"), 0o600); err != nil {
		t.Fatal(err)
	}
	b := made(t, Options{Spool: t.TempDir(), SpoolMode: 0o777}, nil)
	p, err := b.plan(backend.Attempt{Task: taskOf(queue.Spec{Argv: sh("cat"), Stdin: "input"})})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"stdin.new", timeoutName(17)} {
		if err := os.Symlink(victim, filepath.Join(p.folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(p.folder, takenName), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := take(p.folder); err != nil {
		t.Error(err)
	}
	if err := leave(p.folder, timeoutName(17)); err != nil {
		t.Error(err)
	}
	if _, err := b.prepare(p); err != nil {
		t.Error(err)
	}
	if text, err := os.ReadFile(p.stdin); err != nil || string(text) != "input" {
		t.Errorf("%q, %v", text, err)
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "ours" {
		t.Errorf("%q, %v", text, err)
	}
	if info, err := os.Stat(victim); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWorkIsNoLink(t *testing.T) {
	outside := t.TempDir()
	b := made(t, Options{Spool: t.TempDir(), SpoolMode: 0o777}, nil)
	p, err := b.plan(backend.Attempt{Task: taskOf(queue.Spec{Argv: sh("true")})})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(outside, 0o700), os.Mkdir(p.folder, 0o700), os.Symlink(outside, filepath.Join(p.folder, workName))); err != nil {
		t.Fatal(err)
	}
	if _, err := b.prepare(p); err == nil {
		t.Error("the link was followed")
	}
	if info, err := os.Stat(outside); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestTailOfTheLatestJob(t *testing.T) {
	b := made(t, Options{Spool: t.TempDir()}, nil)
	task := taskOf(queue.Spec{})
	if chunk, next, err := b.Tail(t.Context(), task, 0); err != nil || next != 0 || chunk != nil {
		t.Errorf("%q, %d, %v", chunk, next, err)
	}
	folder := filepath.Join(b.opt.Spool, task.ID)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"9.out": "first", "10.out": "second", "99_1.out": "element", "10.err": "error"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if chunk, next, err := b.Tail(t.Context(), task, 3); err != nil || string(chunk) != "ond" || next != 6 {
		t.Errorf("%q, %d, %v", chunk, next, err)
	}
	if chunk, next, err := b.Tail(t.Context(), task, 100); err != nil || string(chunk) != "second" || next != 6 {
		t.Errorf("of one that began anew: %q, %d, %v", chunk, next, err)
	}
}

func TestSpoolsThatSlurmWouldMisread(t *testing.T) {
	for _, spool := range []string{"relative", "/with/%j", "/no/such/folder"} {
		if _, err := New(Options{Spool: spool}, nil); err == nil {
			t.Errorf("%s was taken", spool)
		}
	}
}
