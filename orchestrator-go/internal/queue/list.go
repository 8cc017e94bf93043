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

// List returns the tasks that a filter lets through, newest first. A page may be short, even
// empty, and still have a cursor: a call looks at a bounded number of tasks, and of bytes.
func (q *Redis) List(ctx context.Context, filter Filter, limit int, cursor string) (Page, error) {
	return q.list(ctx, q.logKey(), cursor, &lister{limit: limit, filter: filter})
}

// DeadLetters returns the tasks whose attempts ran out, newest first, as List does; an empty tenant means everybody's.
func (q *Redis) DeadLetters(ctx context.Context, tenant string, limit int, cursor string) (Page, error) {
	return q.list(ctx, q.deadKey(), cursor, &lister{limit: limit, filter: Filter{State: Dead, Tenant: tenant}})
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
			n, bytes := readable(entries)
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

// readable is how many of the first entries can be read at once, at least one, and what that costs.
func readable(messages []redis.XMessage) (n, bytes int) {
	for _, m := range messages {
		more := cost(m)
		if n > 0 && bytes+more > chunkBytes {
			break
		}
		n, bytes = n+1, bytes+more
	}
	return n, bytes
}

// lister gathers one page.
type lister struct {
	limit  int
	filter Filter

	page           Page
	seen           map[string]bool
	scanned, bytes int
}

func (l *lister) done() bool {
	return len(l.page.Tasks) >= l.limit || l.scanned >= maxScan || l.bytes >= maxScanBytes
}

// look reads the tasks of some entries and adds those wanted to the page, up to its limit.
func (q *Redis) look(ctx context.Context, entries []redis.XMessage, l *lister) error {
	ids := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.Values["op"] == nil && l.mayPass(e) {
			ids = append(ids, taskID(e))
		}
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

// mayPass says whether reading an entry's task is worth it; a letter says nothing of its task.
func (l *lister) mayPass(m redis.XMessage) bool {
	if m.Values["meta"] == nil {
		return true
	}
	e, err := parseEntry(m, 1)
	f := l.filter
	return err != nil || (f.Tenant == "" || e.Meta.Tenant == f.Tenant) &&
		(f.Parent == "" || e.Meta.Parent == f.Parent) && (f.Class == "" || e.Meta.Class == f.Class)
}

func (l *lister) add(task *Task) {
	if l.seen[task.ID] || !l.filter.passes(task) {
		return
	}
	l.seen[task.ID] = true
	l.page.Tasks = append(l.page.Tasks, brief(task))
}

func (f Filter) passes(t *Task) bool {
	return (f.State == "" || t.State == f.State) && (f.Tenant == "" || t.Spec.Tenant == f.Tenant) &&
		(f.Parent == "" || t.Spec.Parent == f.Parent) && (f.Class == "" || t.Spec.Class == f.Class)
}

// brief is a task without what may be large and is not for listings.
func brief(task *Task) Task {
	out := *task
	out.Spec.Stdin, out.Spec.Env, out.Result = "", nil, nil
	return out
}
