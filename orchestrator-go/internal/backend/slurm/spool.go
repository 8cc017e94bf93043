package slurm

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"dspyagent.io/orchestrator/internal/queue"
)

const (
	defaultOutputLimit = 64 << 10
	tailChunk          = 64 << 10
	takenName          = "taken" // says that what is there is done with
	workName           = "work"
	stdinName          = "stdin"
)

// prepare makes a task's folder. fresh says that there was none, so that nobody has submitted the task before.
func (b *Backend) prepare(p plan) (fresh bool, err error) {
	err = os.Mkdir(p.folder, 0o700)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return false, err
	}
	fresh = err == nil
	// The mode that was configured, whatever our umask is. The folder's name is ours, what is in it is the job's too.
	if err := os.Chmod(p.folder, b.opt.SpoolMode); err != nil {
		return false, err
	}
	return fresh, inFolder(p.folder, func(root *os.Root) error {
		if err := root.Remove(takenName); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if p.task.Spec.Cwd == "" {
			if err := b.makeWork(root); err != nil {
				return err
			}
		}
		if p.task.Spec.Stdin == "" {
			return nil
		}
		return b.writeStdin(root, p.task.Spec.Stdin)
	})
}

func (b *Backend) makeWork(root *os.Root) error {
	if err := root.Mkdir(workName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	info, err := root.Lstat(workName)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s in the task's folder is no directory", workName)
	}
	return root.Chmod(workName, b.opt.SpoolMode)
}

func (b *Backend) writeStdin(root *os.Root, text string) error {
	if _, err := root.Lstat(stdinName); err == nil {
		return nil // a job may be reading it
	}
	const unready = stdinName + ".new"
	if err := create(root, unready, text, b.opt.SpoolMode.Perm()&0o666); err != nil {
		return err
	}
	return root.Rename(unready, stdinName)
}

// endFile is what the wrapper wrote of a command's end.
type endFile struct {
	code     int
	restarts int
	told     bool   // it was told to stop, so the end may not be the command's own
	why      string // "ran", "no-program", "no-directory"
}

func readEnd(folder, name string) (endFile, error) {
	text, err := readSmall(filepath.Join(folder, name+".end"))
	if err != nil {
		return endFile{}, err
	}
	var e endFile
	words := strings.Fields(text)
	if len(words) != 4 {
		return e, fmt.Errorf("the end file of job %s has %d words", name, len(words))
	}
	var wrong [2]error
	e.code, wrong[0] = strconv.Atoi(words[0])
	e.restarts, wrong[1] = strconv.Atoi(words[1])
	e.told, e.why = words[2] == "1", words[3]
	return e, errors.Join(wrong[:]...)
}

// readSmall reads a file that a job could have replaced by anything.
func readSmall(path string) (_ string, err error) {
	f, err := openRegular(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err := io.ReadAll(io.LimitReader(f, 256))
	return string(text), err
}

// fill puts the tails of a job's outputs into a result.
func fill(result *queue.Result, folder, name string, limit int64) error {
	if limit <= 0 {
		limit = defaultOutputLimit
	}
	var err error
	result.Stdout, result.StdoutBytes, result.StdoutTruncated, err = tailOf(filepath.Join(folder, name+".out"), limit)
	if err != nil {
		return err
	}
	result.Stderr, result.StderrBytes, result.StderrTruncated, err = tailOf(filepath.Join(folder, name+".err"), limit)
	return err
}

// tailOf reads the last bytes of a file; of one that is not there, none.
func tailOf(path string, limit int64) (text string, size int64, cut bool, err error) {
	f, err := openRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", 0, false, nil
	}
	if err != nil {
		return "", 0, false, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return "", 0, false, err
	}
	size = info.Size()
	from := max(size-limit, 0)
	data, err := io.ReadAll(io.NewSectionReader(f, from, size-from))
	return strings.ToValidUTF8(string(data), "\uFFFD"), size, from > 0, err
}

// openRegular opens a plain file and nothing else: the folder is the job's to write in, and a link there could
// point at what the orchestrator may read and the job may not.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noFollow, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a plain file", path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// take marks a task's folder as done with, from when on it is kept for a while only.
func take(folder string) error { return leave(folder, takenName) }

// leave puts an empty file into a task's folder.
func leave(folder, name string) error {
	return inFolder(folder, func(root *os.Root) error { return create(root, name, "", 0o600) })
}

// inFolder does something in a task's folder from which no link leads out: its job can put there what it likes.
func inFolder(folder string, do func(*os.Root) error) error {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return err
	}
	return errors.Join(do(root), root.Close())
}

// create writes a new file in the place of whatever has its name; what is no file, such as a link or a pipe, is neither
// followed nor waited for.
func create(root *os.Root, name, text string, mode fs.FileMode) error {
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noFollow, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
