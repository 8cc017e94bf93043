package slurm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"

	"dspyagent.io/orchestrator/internal/queue"
)

var plainOutput = regexp.MustCompile(`^[0-9]+\.out$`)

// Tail returns what a task's job has written to its standard output from an offset on: of the latest job, where
// there was more than one. The elements of an array have outputs of their own, in the spool; there is none of the whole.
func (b *Backend) Tail(ctx context.Context, task queue.Task, offset int64) ([]byte, int64, error) {
	if b.opt.Spool == "" || !taskID.MatchString(task.ID) {
		return nil, offset, nil
	}
	path, err := b.output(filepath.Join(b.opt.Spool, task.ID))
	if err != nil || path == "" {
		return nil, offset, err
	}
	chunk, next, err := readFrom(path, max(offset, 0))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, offset, ctx.Err()
	}
	if err != nil {
		return nil, offset, fmt.Errorf("reading a job's output: %w", err)
	}
	return chunk, next, ctx.Err()
}

// output finds the latest job's file; "" when nothing has run yet.
func (b *Backend) output(folder string) (string, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "[0-9]*.out"))
	if err != nil {
		return "", err
	}
	latest := ""
	for _, path := range paths {
		name := filepath.Base(path)
		if plainOutput.MatchString(name) && (len(name) > len(filepath.Base(latest)) || latest == "" ||
			len(name) == len(filepath.Base(latest)) && name > filepath.Base(latest)) {
			latest = path
		}
	}
	return latest, nil
}

func readFrom(path string, offset int64) (chunk []byte, next int64, err error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, offset, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, offset, err
	}
	if info.Size() < offset { // it was requeued and begins anew
		offset = 0
	}
	chunk, err = io.ReadAll(io.NewSectionReader(f, offset, tailChunk))
	return chunk, offset + int64(len(chunk)), err
}
