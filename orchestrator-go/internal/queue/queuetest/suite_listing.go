package queuetest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/queue"
)

const mebibyte = 1 << 20

func listing(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, slices.Repeat([]queue.Spec{noop()}, 600)...)
	l := lead(t, q)
	l.finish(l.one(), queue.Failed)
	slices.Reverse(ids)
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page, err := q.List(t.Context(), queue.Filter{}, 250, cursor)
		check(t, err)
		for _, task := range page.Tasks {
			got = append(got, task.ID)
		}
		cursor = page.Cursor
	}
	if !slices.Equal(got, ids) {
		t.Errorf("listed %d tasks, not the %d sent from the newest on", len(got), len(ids))
	}
	page, err := q.List(t.Context(), queue.Filter{State: queue.Failed}, 10, "")
	if check(t, err); len(page.Tasks) != 1 || page.Tasks[0].ID != ids[599] {
		t.Errorf("failed tasks: %+v", page)
	}
	if _, err := q.List(t.Context(), queue.Filter{}, 10, "+ 1"); !errors.Is(err, queue.ErrBadCursor) {
		t.Errorf("a made-up cursor: %v", err)
	}
}

func filters(t *testing.T, open opener) {
	q := open(longLease)
	scope := submit(t, q, queue.Spec{Scope: true, Tenant: "a"})[0]
	child := submit(t, q, queue.Spec{Noop: true, Tenant: "a", Parent: scope})[0]
	others := submit(t, q, queue.Spec{Noop: true, Tenant: "b"})
	l := lead(t, q)
	l.next(2)
	l.finish(l.one(), queue.Dead)
	_, err := q.Cancel(t.Context(), others[0]) // a request is no task
	if !errors.Is(err, queue.ErrFinished) {
		t.Error(err)
	}
	for _, c := range []struct {
		filter queue.Filter
		want   []string
	}{
		{queue.Filter{Tenant: "a"}, []string{child, scope}},
		{queue.Filter{Parent: scope}, []string{child}},
		{queue.Filter{Tenant: "b", State: queue.Dead}, others},
		{queue.Filter{Tenant: "b", State: queue.Queued}, nil},
		{queue.Filter{Class: queue.Long}, nil},
	} {
		page, err := q.List(t.Context(), c.filter, 10, "")
		check(t, err)
		var got []string
		for _, task := range page.Tasks {
			got = append(got, task.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v lists %v, want %v", c.filter, got, c.want)
		}
	}
	for tenant, want := range map[string]int{"a": 0, "b": 1, "": 1} {
		page, err := q.DeadLetters(t.Context(), tenant, 10, "")
		if check(t, err); len(page.Tasks) != want {
			t.Errorf("tenant %q has %d dead letters, want %d", tenant, len(page.Tasks), want)
		}
	}
	tasks, err := q.GetMany(t.Context(), []string{child, "00000000-0000-0000-0000-000000000000", scope})
	if check(t, err); len(tasks) != 2 {
		t.Errorf("read %+v", tasks)
	}
}

// loud is a result of n bytes.
func loud(letter string, n int) *queue.Result {
	return &queue.Result{Reason: "Completed", Stdout: strings.Repeat(letter, n)}
}

func listingOfResults(t *testing.T, open opener) {
	m := &meter{}
	q, reader := open(), open(func(c *consumer) { c.hooks = append(c.hooks, m) })
	submit(t, q, slices.Repeat([]queue.Spec{noop()}, 20)...)
	l := lead(t, q)
	for i, e := range l.next(20) {
		l.record(end(e, queue.Succeeded, loud("x", 100+i%2*mebibyte)))
	}
	before := m.received.Load()
	page, err := reader.List(t.Context(), queue.Filter{State: queue.Succeeded}, 20, "")
	check(t, err)
	if got := m.received.Load() - before; len(page.Tasks) != 20 || got > mebibyte/2 {
		t.Errorf("%d tasks listed with %d bytes", len(page.Tasks), got)
	}
	for _, task := range page.Tasks {
		if task.Result != nil {
			t.Fatalf("listed with a result: %.200q", task.Result.Stdout)
		}
	}
	before = m.received.Load()
	page, err = reader.List(t.Context(), queue.Filter{}, 1, "")
	check(t, err)
	if got := m.received.Load() - before; len(page.Tasks) != 1 || got > 2000 {
		t.Errorf("%d tasks, wanted one, listed with %d bytes", len(page.Tasks), got)
	}
}

// largeTasks checks every reply, and every page of a listing.
func largeTasks(t *testing.T, open opener) {
	const tasks = 24
	m := &meter{}
	q := open(longLease, func(c *consumer) {
		c.hooks = append(c.hooks, m, afterwards(func(cmd redis.Cmder, err error) error {
			if values, ok := cmd.(*redis.SliceCmd); ok && size(values.Val()) > 9*mebibyte {
				t.Errorf("one reply of %d bytes to %s", size(values.Val()), cmd.Name())
			}
			return err
		}))
	})
	spec := queue.Spec{Argv: []string{"/bin/cat"}, Stdin: strings.Repeat("x", mebibyte)}
	var ids []string
	for range tasks / 4 {
		ids = append(ids, submit(t, q, spec, spec, spec, spec)...)
	}
	var got []string
	l := lead(t, q)
	entries := l.next(tasks)
	for i, task := range l.begin(entries...) {
		got = append(got, task.ID)
		if task.Spec.Stdin != spec.Stdin {
			t.Error("begun without its standard input")
		}
		l.finish(entries[i], queue.Dead)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("read %d tasks, not the %d sent in their order", len(got), tasks)
	}
	slices.Reverse(ids)
	for name, list := range map[string]func(cursor string) (queue.Page, error){
		"tasks":        func(cursor string) (queue.Page, error) { return q.List(t.Context(), queue.Filter{}, 500, cursor) },
		"dead letters": func(cursor string) (queue.Page, error) { return q.DeadLetters(t.Context(), "", 500, cursor) },
	} {
		got = nil
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			before := m.received.Load()
			page, err := list(cursor)
			check(t, err)
			if n := m.received.Load() - before; n > 9*mebibyte {
				t.Errorf("a page of %s took %d bytes", name, n)
			}
			for _, task := range page.Tasks {
				got = append(got, task.ID)
				if task.Spec.Stdin != "" {
					t.Errorf("%s come with standard input", name)
				}
			}
			cursor = page.Cursor
		}
		if !slices.Equal(got, ids) {
			t.Errorf("%d %s listed, not the %d from the newest on", len(got), name, tasks)
		}
	}
}

// A batch names parents, and a client watches tasks, of which nothing tells how large they are.
func manyLargeTasks(t *testing.T, open opener) {
	const tasks = 40
	largest := 0
	q := open(longLease, func(c *consumer) {
		c.hooks = append(c.hooks, afterwards(func(cmd redis.Cmder, err error) error {
			if values, ok := cmd.(*redis.SliceCmd); ok {
				largest = max(largest, size(values.Val()))
			}
			return err
		}))
	})
	var ids []string
	for range tasks / 4 {
		spec := queue.Spec{Argv: []string{"/bin/cat"}, Stdin: strings.Repeat("x", mebibyte)}
		ids = append(ids, submit(t, q, spec, spec, spec, spec)...)
	}
	children := make([]queue.Submission, tasks)
	for i, id := range ids {
		children[i] = queue.Submission{Spec: queue.Spec{Noop: true, Parent: id}}
	}
	_, err := q.Enqueue(t.Context(), children)
	check(t, err)
	found, err := q.GetMany(t.Context(), ids)
	if check(t, err); len(found) != tasks || largest > 9*mebibyte {
		t.Errorf("%d of %d found; one reply was of %d bytes", len(found), tasks, largest)
	}
}

func size(values []any) int {
	n := 0
	for _, v := range values {
		text, _ := v.(string)
		n += len(text)
	}
	return n
}

func largeResult(t *testing.T, open opener) {
	q := open(longLease)
	ids := submit(t, q, noop())
	l := lead(t, q)
	e := l.one()
	l.record(end(e, queue.Succeeded, loud("f", mebibyte)))
	l.record(end(e, queue.Succeeded, loud("s", mebibyte))) // repeated: the first stays
	if task := expect(t, q, ids[0], queue.Succeeded, 1); task.Result == nil || task.Result.Stdout != strings.Repeat("f", mebibyte) {
		t.Errorf("the result is not the one that was recorded: %.100v", task.Result)
	}
}

// listAll pages to the end; between says what happens after each page.
func listAll(t *testing.T, q *queue.Redis, limit int, between func(page int)) []string {
	t.Helper()
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page, err := q.List(t.Context(), queue.Filter{}, limit, cursor)
		check(t, err)
		for _, task := range page.Tasks {
			got = append(got, task.ID)
		}
		between(pages)
		cursor = page.Cursor
	}
	return got
}

// The entry of a task that takes long is appended again, a dead letter that is put back gets one of its own, and so
// does each request with one idempotency key.
func listingOnce(t *testing.T, open opener) {
	q := open(longLease)
	l := lead(t, q)
	ids := submit(t, q, slices.Repeat([]queue.Spec{noop()}, 30)...)
	key := queue.Spec{Noop: true, IdempotencyKey: "k" + t.Name()}
	ids = append(ids, submit(t, q, key)...)
	submit(t, q, noop())
	submit(t, q, key)
	move := func(e queue.Entry) { l.record(queue.Change{Task: e.Task, Move: &e}) }
	revive := func(e queue.Entry) {
		l.finish(e, queue.Dead)
		_, err := q.Revive(t.Context(), e.Task)
		check(t, err)
	}
	entries := l.next(100)
	once := func(when string, between func(int)) {
		t.Helper()
		got := listAll(t, q, 7, between)
		seen := map[string]int{}
		for _, id := range got {
			seen[id]++
		}
		if len(seen) != len(ids)+1 || len(got) != len(seen) {
			t.Errorf("%s: %d tasks listed, %d of them different, of %d", when, len(got), len(seen), len(ids)+1)
		}
	}
	nothing := func(int) {}
	once("first", nothing)
	move(entries[0])
	move(l.one())
	move(entries[1])
	revive(entries[2])
	revive(entries[20])
	once("moved and revived before", nothing)
	once("meanwhile", func(page int) {
		if page < 3 { // some that were listed, some that were not
			move(entries[3+page])
			move(entries[25+page])
			revive(entries[6+page])
			revive(entries[22+page])
		}
	})
	once("later", nothing)
	// To this one, everything is old: what has been trimmed is not listed, and what was moved is, where it is now.
	trimmer := open(func(c *consumer) { c.ResultTTL = -time.Hour })
	for _, e := range l.adopt() {
		move(e)
	}
	if got := listAll(t, trimmer, 7, nothing); len(got) != len(ids)+1 {
		t.Errorf("%d tasks listed at their new entries, of %d", len(got), len(ids)+1)
	}
}
