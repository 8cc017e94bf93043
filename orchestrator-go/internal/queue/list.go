package queue

import (
	"context"
	"fmt"
	"regexp"

	"github.com/redis/go-redis/v9"
)

const (
	scanPage = 256

	// What is looked at for one page of a listing, at most: a filter may pass over everything, and tasks may be large.
	maxScan      = 16 * scanPage
	maxScanBytes = 2 * chunkBytes
)

var cursorForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)

// List returns tasks, newest first; an empty state means all. A page may be short, even
// empty, and still have a cursor: a call looks at a bounded number of tasks, and of bytes.
func (q *Redis) List(ctx context.Context, state State, limit int, cursor string) (Page, error) {
	return q.list(ctx, q.readyKey(), cursor, &lister{
		limit: limit, want: func(t *Task) bool { return state == "" || t.State == state },
	})
}

// DeadLetters returns the tasks whose attempts ran out, newest first, as List does.
func (q *Redis) DeadLetters(ctx context.Context, limit int, cursor string) (Page, error) {
	return q.list(ctx, q.deadKey(), cursor, &lister{
		limit: limit, want: func(t *Task) bool { return t.State == Dead },
	})
}

// list pages backwards through a stream of task ids.
func (q *Redis) list(ctx context.Context, key, cursor string, l *lister) (Page, error) {
	end := "+"
	if cursor != "" {
		if !cursorForm.MatchString(cursor) {
			return Page{}, ErrBadCursor
		}
		end = "(" + cursor
	}
	l.page, l.seen = Page{Tasks: []Task{}}, map[string]bool{}
	for count := min(l.limit, scanPage); !l.done(); count = min(2*count, scanPage) {
		entries, err := q.db.XRevRangeN(ctx, key, end, "-", int64(count)).Result()
		if err != nil {
			return l.page, fmt.Errorf("listing: %w", err)
		}
		last := len(entries) < count
		for len(entries) > 0 && !l.done() {
			n, bytes := fitting(entries)
			if err := q.look(ctx, entries[:n], l); err != nil {
				return l.page, err
			}
			l.scanned, l.bytes, entries = l.scanned+n, l.bytes+bytes, entries[n:]
		}
		if last && len(entries) == 0 && len(l.page.Tasks) < l.limit {
			l.page.Cursor = ""
			break
		}
		end = "(" + l.page.Cursor
	}
	return l.page, nil
}

// lister gathers one page.
type lister struct {
	limit int
	want  func(*Task) bool

	page           Page
	seen           map[string]bool
	scanned, bytes int
}

func (l *lister) done() bool {
	return len(l.page.Tasks) >= l.limit || l.scanned >= maxScan || l.bytes >= maxScanBytes
}

// look reads the tasks of some entries and adds those wanted to the page, up to its limit.
func (q *Redis) look(ctx context.Context, entries []redis.XMessage, l *lister) error {
	ids := make([]string, len(entries))
	for i, e := range entries {
		ids[i] = taskID(e)
	}
	views, err := q.views(ctx, ids)
	if err != nil {
		return err
	}
	byID := make(map[string]*Task, len(views))
	for i := range views {
		byID[views[i].ID] = &views[i].Task
	}
	for _, e := range entries {
		l.page.Cursor = e.ID
		if task := byID[taskID(e)]; task != nil {
			l.add(task)
		}
		if len(l.page.Tasks) == l.limit {
			break
		}
	}
	return nil
}

func (l *lister) add(task *Task) {
	if l.seen[task.ID] || !l.want(task) {
		return
	}
	l.seen[task.ID] = true
	brief := *task
	brief.Spec.Stdin, brief.Spec.Env, brief.Result = "", nil, nil
	l.page.Tasks = append(l.page.Tasks, brief)
}
