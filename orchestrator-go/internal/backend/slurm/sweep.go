package slurm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Sweep removes the folders of tasks that were done with longer ago than KeepOutput. What cannot be removed does not
// keep the others.
func (b *Backend) Sweep(now time.Time) error {
	if b.opt.Spool == "" {
		return nil
	}
	folders, err := os.ReadDir(b.opt.Spool)
	if err != nil {
		return fmt.Errorf("reading the spool: %w", err)
	}
	var errs []error
	for _, folder := range folders {
		path := filepath.Join(b.opt.Spool, folder.Name())
		info, err := os.Lstat(filepath.Join(path, takenName))
		if err != nil || !taskID.MatchString(folder.Name()) || now.Sub(info.ModTime()) < b.opt.KeepOutput {
			continue
		}
		if err := removeAll(path); err != nil {
			errs = append(errs, fmt.Errorf("clearing the spool: %w", err))
		}
	}
	return errors.Join(errs...)
}

// removeAll removes a folder with the directories in it that nobody may write to, such as Go's module cache has.
func removeAll(folder string) error {
	if os.RemoveAll(folder) == nil {
		return nil
	}
	// What cannot be opened to us is told by the removal.
	_ = inFolder(folder, func(root *os.Root) error {
		return fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				_ = root.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return os.RemoveAll(folder)
}
