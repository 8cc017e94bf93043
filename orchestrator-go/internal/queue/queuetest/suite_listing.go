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
	specs := make([]queue.Spec, 600)
	for i := range specs {
		specs[i] = noop()
	}
	ids := submit(t, q, specs...)
	finish(t, q, readOne(t, q), queue.Failed)
	slices.Reverse(ids)
	var got []string
	for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
		page, err := q.List(t.Context(), "", 250, cursor)
		check(t, err)
		for _, task := range page.Tasks {
			got = append(got, task.ID)
		}
		cursor = page.Cursor
	}
	if !slices.Equal(got, ids) {
		t.Errorf("listed %d tasks, not the %d sent from the newest on", len(got), len(ids))
	}
	page, err := q.List(t.Context(), queue.Failed, 10, "")
	if check(t, err); len(page.Tasks) != 1 || page.Tasks[0].ID != ids[599] {
		t.Errorf("failed tasks: %+v", page)
	}
	if _, err := q.List(t.Context(), "", 10, "+ 1"); !errors.Is(err, queue.ErrBadCursor) {
		t.Errorf("a made-up cursor: %v", err)
	}
}

// finishLoudly records an outcome with a result of n bytes.
func finishLoudly(t *testing.T, q *queue.Redis, l queue.Lease, letter string, n int) bool {
	t.Helper()
	recorded, err := q.Finish(t.Context(), []queue.Completion{{Lease: l, Outcome: &queue.Outcome{
		State: queue.Succeeded, Attempts: l.Attempt, FinishedAt: time.Now().UTC(),
		Result: &queue.Result{Reason: "Completed", Stdout: strings.Repeat(letter, n)},
	}}})
	check(t, err)
	return recorded[0]
}

func listingOfResults(t *testing.T, open opener) {
	m := &meter{}
	q, reader := open(), open(func(c *consumer) { c.hooks = append(c.hooks, m) })
	submit(t, q, slices.Repeat([]queue.Spec{noop()}, 20)...)
	for i, l := range read(t, q, 20) {
		finishLoudly(t, q, l, "x", 100+i%2*mebibyte)
	}
	before := m.received.Load()
	page, err := reader.List(t.Context(), queue.Succeeded, 20, "")
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
	page, err = reader.List(t.Context(), "", 1, "")
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
	for _, l := range read(t, q, tasks) {
		got = append(got, l.Task.ID)
		if l.Task.Spec.Stdin != spec.Stdin {
			t.Error("leased without its standard input")
		}
		finish(t, q, l, queue.Dead)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("read %d tasks, not the %d sent in their order", len(got), tasks)
	}
	slices.Reverse(ids)
	for name, list := range map[string]func(cursor string) (queue.Page, error){
		"tasks":        func(cursor string) (queue.Page, error) { return q.List(t.Context(), "", 500, cursor) },
		"dead letters": func(cursor string) (queue.Page, error) { return q.DeadLetters(t.Context(), 500, cursor) },
	} {
		got = nil
		for cursor, pages := "", 0; pages == 0 || cursor != ""; pages++ {
			before := m.received.Load()
			page, err := list(cursor)
			check(t, err)
			if n := m.received.Load() - before; n > 22*mebibyte {
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

func size(values []any) int {
	n := 0
	for _, v := range values {
		text, _ := v.(string)
		n += len(text)
	}
	return n
}

func largeResult(t *testing.T, open opener) {
	q, other := open(), open()
	ids := submit(t, q, noop())
	slow := readOne(t, q)
	fast := reclaim(t, other)
	if !finishLoudly(t, other, fast, "f", mebibyte) || finishLoudly(t, q, slow, "s", mebibyte) {
		t.Error("want the first outcome recorded and the second not")
	}
	if task := expect(t, q, ids[0], queue.Succeeded, 2); task.Result == nil || task.Result.Stdout != strings.Repeat("f", mebibyte) {
		t.Errorf("the result is not the one that was recorded: %.100v", task.Result)
	}
}
