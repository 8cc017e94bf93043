package queue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

const (
	scanPage = 256

	// What is looked at for one page of a listing, at most: a filter may pass over everything, and tasks may be large.
	maxScan      = 16 * scanPage
	maxScanBytes = chunkBytes
)

// List returns the tasks that a filter lets through, newest first, each on one page alone. A page may be short, even
// empty, and still have a cursor: a call looks at a bounded number of tasks, and of bytes.
func (q *Redis) List(ctx context.Context, filter Filter, limit int, cursor string) (Page, error) {
	at, err := parsePlace(cursor)
	if err != nil {
		return Page{}, err
	}
	if at.floor == "" {
		if at.floor, err = q.floor(ctx); err != nil {
			return Page{}, err
		}
	}
	l := &lister{limit: limit, filter: filter, place: at}
	err = q.list(ctx, q.logKey(), l)
	if l.page.Cursor != "" {
		l.page.Cursor = place{l.page.Cursor, l.top, l.floor}.String()
	}
	return l.page, err
}

// DeadLetters returns the tasks whose attempts ran out, newest first, as List does; an empty tenant means everybody's.
func (q *Redis) DeadLetters(ctx context.Context, tenant string, limit int, cursor string) (Page, error) {
	at, err := parsePlace(cursor)
	if err != nil {
		return Page{}, err
	}
	l := &lister{limit: limit, filter: Filter{State: Dead, Tenant: tenant}, place: at, letters: true}
	err = q.list(ctx, q.deadKey(), l)
	return l.page, err
}

// list pages backwards through a stream of task ids.
func (q *Redis) list(ctx context.Context, key string, l *lister) error {
	end := "+"
	if l.last != "" {
		end = "(" + l.last
	}
	l.page, l.seen = Page{Tasks: []Task{}}, map[string]bool{}
	for count := min(l.limit, scanPage); !l.done(); count = min(2*count, scanPage) {
		entries, err := q.db.XRevRangeN(ctx, key, end, "-", int64(count)).Result()
		if err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		if l.top == "" && len(entries) > 0 {
			l.top = entries[0].ID
		}
		last := len(entries) < count
		for len(entries) > 0 && !l.done() {
			n, bytes := readable(entries, maxScanBytes-l.bytes)
			if err := q.look(ctx, entries[:n], l); err != nil {
				return err
			}
			l.scanned, l.bytes, entries = l.scanned+n, l.bytes+bytes, entries[n:]
		}
		if last && len(entries) == 0 && len(l.page.Tasks) < l.limit {
			l.page.Cursor = ""
			break
		}
		end = "(" + l.page.Cursor
	}
	return nil
}

// readable is how many of the first entries can be read in so many bytes, at least one, and what that costs.
func readable(messages []redis.XMessage, room int) (n, bytes int) {
	for _, m := range messages {
		more := cost(m)
		if n > 0 && bytes+more > room {
			break
		}
		n, bytes = n+1, bytes+more
	}
	return n, bytes
}

// lister gathers one page.
type lister struct {
	limit   int
	filter  Filter
	place        // where the page begins
	letters bool // what is listed is the stream of dead letters, with one entry of each

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
		if e.Values["op"] == nil && l.first(e) && l.mayPass(e) {
			ids = append(ids, taskID(e))
		}
	}
	views, err := q.views(ctx, ids)
	if err != nil {
		return err
	}
	byID := make(map[string]*view, len(views))
	for i := range views {
		byID[views[i].ID] = &views[i]
	}
	for _, e := range entries {
		l.page.Cursor = e.ID
		if v := byID[taskID(e)]; v != nil && l.first(e) && l.current(e, v) {
			l.add(&v.Task)
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
