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

// Run checks a queue on a store. Each test has keys of its own.
func Run(t *testing.T, server *Server) {
	for name, test := range map[string]func(*testing.T, opener){
		"a task goes from Queued to its outcome":         lifecycle,
		"a batch keeps its order":                        batch,
		"the largest commit is taken":                    largestCommit,
		"one idempotency key is one task":                idempotency,
		"an idempotency key cannot change its task":      idempotencyConflict,
		"one process leads, and the next after it":       oneLeads,
		"a lease that ran out is kept if nobody led":     outlasts,
		"a leader that was replaced records nothing":     fenced,
		"a leader that resigns is replaced at once":      resigns,
		"attempts are counted over all leaders":          attempts,
		"an attempt that a stop broke off is no attempt": unbegun,
		"the next leader finds what has not ended":       adopts,
		"the next leader finds what was read late":       strays,
		"nothing is taken over without where it stands":  adoptsWhole,
		"where a task stands outlasts its leader":        standings,
		"a task is appended again, and counts on":        moves,
		"recording again changes nothing":                recordAgain,
		"recording again leaves who was put back alone":  recordAgainAfterARevival,
		"recording again is recording after a move":      recordAgainAfterAMove,
		"all of a record is written, or nothing":         recordWhole,
		"a request to cancel reaches the leader":         cancels,
		"a finished task cannot be cancelled":            cancelFinished,
		"a scope is closed":                              closes,
		"children have a parent that has not ended":      parents,
		"a child is sent again after its parent's end":   childAgain,
		"a child is sent again after it was put back":    childAgainAfterARevival,
		"a child is sent again when its parent is gone":  childAgainWithoutItsParent,
		"a stale entry asks for nothing":                 stale,
		"one that cannot be read holds up no other":      unreadable,
		"a dead letter is listed and put back":           deadLetter,
		"a dead letter is put back once":                 reviveOnce,
		"a listing pages newest first":                   listing,
		"a listing passes what its filter says":          filters,
		"a listing shows each task once":                 listingOnce,
		"tasks of unknown sizes are read in pieces":      manyLargeTasks,
		"a listing carries no results":                   listingOfResults,
		"large tasks are read and listed in pieces":      largeTasks,
		"a large result is kept whole":                   largeResult,
		"a task that is too large is refused":            tooLarge,
		"a full queue refuses until tasks end":           fullQueue,
		"replicas lose nothing at the bound":             fullQueueOfMany,
		"an outcome expires":                             expiry,
		"trimming keeps what is needed and counts agree": trimming,
		"a task that takes long is moved out of its way": trimmingAfterAMove,
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
	l := lead(t, q)
	entry := l.one()
	task := l.begin(entry)[0]
	if task.ID != ids[0] || !slices.Equal(task.Spec.Argv, []string{"/bin/echo", "a b"}) || task.Spec.Env["K"] != "v" {
		t.Errorf("began %+v", task)
	}
	begun := time.Now().UTC()
	l.record(queue.Change{Task: ids[0], Standing: &queue.Standing{State: queue.Running, Attempts: 1, StartedAt: begun, Place: "here"}})
	if task := expect(t, q, ids[0], queue.Running, 1); !task.StartedAt.Equal(begun) || task.Place != "here" {
		t.Errorf("running: %+v", task)
	}
	exit := 0
	l.record(queue.Change{Task: ids[0], Begun: true, Settled: []string{entry.ID}, Outcome: &queue.Outcome{
		State: queue.Succeeded, Attempts: 1, Result: &queue.Result{ExitCode: &exit, Stdout: "a b\n", Reason: "Completed"},
		StartedAt: begun, FinishedAt: time.Now().UTC(), History: []queue.AttemptRecord{{Number: 1, Token: 7}},
	}})
	if task := expect(t, q, ids[0], queue.Succeeded, 1); task.Result.Stdout != "a b\n" || task.FinishedAt == nil || task.History[0].Token != 7 {
		t.Errorf("finished as %+v", task)
	}
	if _, err := q.Get(t.Context(), "00000000-0000-0000-0000-000000000000"); !errors.Is(err, queue.ErrNotFound) {
		t.Errorf("an unknown task: %v", err)
	}
}

func batch(t *testing.T, open opener) {
	q := open()
	ids := submit(t, q, slices.Repeat([]queue.Spec{noop()}, 500)...)
	l := lead(t, q)
	if got := tasksOf(append(l.next(300), l.next(300)...)); !slices.Equal(got, ids) {
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
	l, wanted := lead(t, q), 0
	for i, task := range l.begin(l.next(100)...) {
		if task != nil {
			wanted++
			if i != 0 {
				t.Errorf("entry %d won, not the first", i)
			}
		}
	}
	if len(ids) != 1 || wanted != 1 {
		t.Errorf("%d ids and %d tasks for one key", len(ids), wanted)
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
