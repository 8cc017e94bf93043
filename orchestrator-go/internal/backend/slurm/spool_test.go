package slurm

import (
	"os"
	"path/filepath"
	"testing"
	"time"

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
