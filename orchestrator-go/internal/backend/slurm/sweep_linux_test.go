package slurm

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// asNobody does something as a user who may not do everything, if we are one who may.
func asNobody(t *testing.T, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		do()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETFSUID, nobody, 0, 0); errno != 0 {
			t.Error(errno)
		}
		do()
	}()
	<-done
}

const nobody = 65534

func TestSweepGoesOn(t *testing.T) {
	b := made(t, Options{Spool: t.TempDir(), KeepOutput: time.Hour}, nil)
	spool := b.opt.Spool
	var errs error
	for _, name := range []string{"a-others", "b-cache", "c-plain"} {
		deep := filepath.Join(spool, name, "work", "mod")
		errs = errors.Join(errs, os.MkdirAll(deep, 0o700), os.WriteFile(filepath.Join(deep, "go.mod"), nil, 0o400), take(filepath.Join(spool, name)))
	}
	errs = errors.Join(errs, os.Chmod(filepath.Join(spool, "b-cache", "work", "mod"), 0o500), os.Chmod(filepath.Join(spool, "b-cache", "work"), 0o500))
	if os.Geteuid() == 0 {
		for dir := filepath.Dir(spool); dir != os.TempDir() && len(dir) > 1; dir = filepath.Dir(dir) {
			errs = errors.Join(errs, os.Chmod(dir, 0o755))
		}
		errs = errors.Join(errs, os.Chown(spool, nobody, -1), filepath.WalkDir(spool, func(path string, _ os.DirEntry, err error) error {
			return errors.Join(err, os.Chown(path, nobody, -1))
		}))
		errs = errors.Join(errs, os.Chown(filepath.Join(spool, "a-others", "work"), 0, -1), os.Chmod(filepath.Join(spool, "a-others", "work"), 0o755))
	}
	if errs != nil {
		t.Fatal(errs)
	}
	asNobody(t, func() {
		if err := b.Sweep(time.Now().Add(2 * time.Hour)); (err == nil) != (os.Geteuid() != 0) {
			t.Errorf("got %v", err)
		}
	})
	for _, name := range []string{"b-cache", "c-plain"} {
		if _, err := os.Stat(filepath.Join(spool, name)); !os.IsNotExist(err) {
			t.Errorf("%s was not removed: %v", name, err)
		}
	}
}
