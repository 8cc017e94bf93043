package queuetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"dspyagent.io/orchestrator/internal/queue"
)

const (
	lease    = 300 * time.Millisecond
	patience = 30 * time.Second
)

// nobody is what a process that holds nothing answers.
func nobody(string) bool { return false }

// Run checks a queue on a store. Each test has keys of its own.
func Run(t *testing.T, server *Server) {
	for name, test := range map[string]func(*testing.T, opener){
		"a task goes from Queued to its outcome":         lifecycle,
		"a batch keeps its order":                        batch,
		"one idempotency key is one task":                idempotency,
		"an idempotency key cannot change its task":      idempotencyConflict,
		"an expired lease is taken over":                 takeover,
		"a renewed lease is not":                         renewed,
		"a renewal shows what was lost or ended":         renewalShows,
		"a retry counts, and needs the lease":            retry,
		"a released task is free at once, uncharged":     release,
		"a lease that was taken over is not released":    releaseLost,
		"a stop after the delivery loses no task":        stopAfterDelivery,
		"what cannot be read is handed back, uncharged":  unreadable,
		"the first outcome wins":                         firstOutcome,
		"finishing again changes nothing":                finishAgain,
		"finishing again outlasts no outcome":            finishForever,
		"a cancelled task is not delivered":              cancelQueued,
		"a finished task cannot be cancelled":            cancelFinished,
		"cancelling keeps no finished task from expiry":  cancelExpiring,
		"cancelling does not shorten a dead letter":      cancelDead,
		"a dead letter is listed and put back":           deadLetter,
		"a dead letter is put back once":                 reviveOnce,
		"a listing pages newest first":                   listing,
		"a listing carries no results":                   listingOfResults,
		"large tasks are read and listed in pieces":      largeTasks,
		"a large result is kept whole, the first of two": largeResult,
		"a task that is too large is refused":            tooLarge,
		"a full queue refuses until it is read":          fullQueue,
		"replicas lose nothing at the bound":             fullQueueOfMany,
		"an outcome expires":                             expiry,
		"trimming keeps what is needed and counts agree": trimming,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			prefix := fmt.Sprintf("test/%s/%d/", t.Name(), time.Now().UnixNano())
			test(t, func(change ...func(*consumer)) *queue.Redis {
				c := consumer{Options: queue.Options{Prefix: prefix, Lease: lease, ResultTTL: time.Minute, DeadTTL: time.Minute}}
				for _, do := range change {
					do(&c)
				}
				return open(t, server, c)
			})
		})
	}
}

// opener makes a further consumer of a test's keys.
type opener func(change ...func(*consumer)) *queue.Redis

type consumer struct {
	queue.Options
	hooks []redis.Hook // on its client
}

// longLease is for what must not expire, however slow the machine is.
func longLease(c *consumer) { c.Lease = time.Hour }

func open(t *testing.T, server *Server, c consumer) *queue.Redis {
	db := server.Client()
	for _, hook := range c.hooks {
		db.AddHook(hook)
	}
	q, err := queue.NewRedis(db, c.Options)
	check(t, err)
	check(t, q.Open(t.Context()))
	t.Cleanup(func() {
		q.Close()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return q
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func submit(t *testing.T, q *queue.Redis, specs ...queue.Spec) []string {
	t.Helper()
	subs := make([]queue.Submission, len(specs))
	for i, s := range specs {
		s.Class, s.MaxAttempts = queue.Short, 3
		subs[i] = queue.Submission{Spec: s}
	}
	ids, err := q.Enqueue(t.Context(), subs)
	check(t, err)
	return ids
}

func noop() queue.Spec { return queue.Spec{Noop: true} }

func read(t *testing.T, q *queue.Redis, n int) []queue.Lease {
	t.Helper()
	leases, err := q.Read(t.Context(), n, 50*time.Millisecond)
	check(t, err)
	return leases
}

func readOne(t *testing.T, q *queue.Redis) queue.Lease {
	t.Helper()
	leases := read(t, q, 1)
	if len(leases) != 1 {
		t.Fatalf("read %d tasks, want 1", len(leases))
	}
	return leases[0]
}

// reclaim waits until a lease has expired.
func reclaim(t *testing.T, q *queue.Redis) queue.Lease {
	t.Helper()
	var got []queue.Lease
	Eventually(t, patience, "a lease expires", func() bool {
		var err error
		got, err = q.Reclaim(t.Context(), 10, nobody)
		check(t, err)
		return len(got) > 0
	})
	return got[0]
}

func finish(t *testing.T, q *queue.Redis, l queue.Lease, state queue.State) bool {
	t.Helper()
	recorded, err := q.Finish(t.Context(), []queue.Completion{{Lease: l, Outcome: &queue.Outcome{
		State: state, Attempts: l.Attempt, FinishedAt: time.Now().UTC(),
	}}})
	check(t, err)
	return recorded[0]
}

func expect(t *testing.T, q *queue.Redis, id string, state queue.State, attempts int) queue.Task {
	t.Helper()
	task, err := q.Get(t.Context(), id)
	check(t, err)
	if task.State != state || task.Attempts != attempts {
		t.Errorf("task is %s after %d attempts, want %s after %d", task.State, task.Attempts, state, attempts)
	}
	return task
}

func lifecycle(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, queue.Spec{Argv: []string{"/bin/echo", "a b"}, Env: map[string]string{"K": "v"}, TimeoutMS: 5})
	expect(t, q, ids[0], queue.Queued, 0)
	l := readOne(t, q)
	if l.Task.ID != ids[0] || l.Attempt != 1 || !slices.Equal(l.Task.Spec.Argv, []string{"/bin/echo", "a b"}) || l.Task.Spec.Env["K"] != "v" {
		t.Errorf("leased %+v", l)
	}
	begun := time.Now().UTC()
	_, err := q.Renew(t.Context(), []queue.Progress{{Lease: l, State: queue.Running, StartedAt: begun}})
	check(t, err)
	if task := expect(t, q, ids[0], queue.Running, 1); !task.StartedAt.Equal(begun) {
		t.Errorf("started at %v, want %v", task.StartedAt, begun)
	}
	exit := 0
	_, err = q.Finish(t.Context(), []queue.Completion{{Lease: l, Outcome: &queue.Outcome{
		State: queue.Succeeded, Attempts: 1, Result: &queue.Result{ExitCode: &exit, Stdout: "a b\n", Reason: "Completed"},
		StartedAt: begun, FinishedAt: time.Now().UTC(),
	}}})
	check(t, err)
	if task := expect(t, q, ids[0], queue.Succeeded, 1); task.Result.Stdout != "a b\n" || task.FinishedAt == nil {
		t.Errorf("finished as %+v", task)
	}
	if _, err := q.Get(t.Context(), "00000000-0000-0000-0000-000000000000"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("an unknown task: %v", err)
	}
}

func batch(t *testing.T, open opener) {
	q := open()
	specs := make([]queue.Spec, 500)
	for i := range specs {
		specs[i] = noop()
	}
	ids := submit(t, q, specs...)
	var got []string
	for _, l := range append(read(t, q, 300), read(t, q, 300)...) {
		got = append(got, l.Task.ID)
	}
	if !slices.Equal(got, ids) {
		t.Errorf("read %d tasks, not the %d sent in their order", len(got), len(ids))
	}
}

func idempotency(t *testing.T, open opener) {
	q, other := open(), open()
	spec := queue.Spec{Argv: []string{"/bin/true"}, IdempotencyKey: "once", Class: queue.Short, MaxAttempts: 3}
	var mu sync.Mutex
	ids := map[string]bool{}
	var senders sync.WaitGroup
	for i := range 20 {
		senders.Go(func() {
			to := []*queue.Redis{q, other}[i%2]
			got, err := to.Enqueue(t.Context(), []queue.Submission{{Spec: spec}})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			ids[got[0]] = true
		})
	}
	senders.Wait()
	if leases := read(t, q, 100); len(ids) != 1 || len(leases) != 1 {
		t.Errorf("%d ids and %d leases for one key", len(ids), len(leases))
	}
}

func idempotencyConflict(t *testing.T, open opener) {
	q := open()
	submit(t, q, queue.Spec{Argv: []string{"/bin/true"}, IdempotencyKey: "k"})
	_, err := q.Enqueue(t.Context(), []queue.Submission{{Spec: queue.Spec{Argv: []string{"/bin/false"}, IdempotencyKey: "k"}}})
	if !errors.Is(err, queue.ErrIdempotencyConflict) {
		t.Errorf("another task under the same key: %v", err)
	}
}
