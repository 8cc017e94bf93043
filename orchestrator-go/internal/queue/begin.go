package queue

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Begin counts an attempt of each entry's task, and returns the tasks in order: nil for one that asks for nothing
// any more, because its entry is stale. One that this version cannot read is Dead, with a fault: it is to be ended so, and
// holds up no other. Errors: ErrFenced when the term has ended; nothing of the last piece was counted.
func (q *Redis) Begin(ctx context.Context, term Term, entries []Entry) ([]*Task, error) {
	tasks := make([]*Task, 0, len(entries))
	for rest := entries; len(rest) > 0; {
		n := fitting(rest)
		loaded, err := q.begin(ctx, term, rest[:n])
		if err != nil {
			return nil, fmt.Errorf("beginning attempts: %w", err)
		}
		tasks, rest = append(tasks, loaded...), rest[n:]
	}
	return tasks, nil
}

func (q *Redis) begin(ctx context.Context, term Term, entries []Entry) ([]*Task, error) {
	begun, tasks := make([]Entry, len(entries)), make([]*Task, len(entries))
	for i, e := range entries {
		begun[i] = e
		begun[i].Begun++
	}
	err := q.within(ctx, term, q.recordKeys(entries), func(f fence) error {
		for i, e := range entries {
			tasks[i] = wanted(e, f.read[2*i], f.read[2*i+1])
		}
		return f.exec(func(p redis.Pipeliner) error {
			q.setBegun(ctx, p, begun)
			return nil
		})
	})
	return tasks, err
}

// Wanted says of each entry whether it asks for its task, which is there and has not ended.
func (q *Redis) Wanted(ctx context.Context, entries []Entry) ([]bool, error) {
	answers := make([]bool, 0, len(entries))
	for rest := entries; len(rest) > 0; {
		n := fitting(rest)
		values, err := q.db.MGet(ctx, q.recordKeys(rest[:n])...).Result()
		if err != nil {
			return nil, fmt.Errorf("looking tasks up: %w", err)
		}
		for i, e := range rest[:n] {
			answers = append(answers, asksFor(e, values[2*i], values[2*i+1]))
		}
		rest = rest[n:]
	}
	return answers, nil
}

// recordKeys are, for each entry, those of its task's record and outcome.
func (q *Redis) recordKeys(entries []Entry) []string {
	keys := make([]string, 0, 2*len(entries))
	for _, e := range entries {
		keys = append(keys, q.taskKey(e.Task), q.endKey(e.Task))
	}
	return keys
}

// asksFor says whether an entry asks for its task. A record that cannot be read may be of another version, and is the one.
func asksFor(e Entry, value, end any) bool {
	var rec struct{ Generation string }
	found, err := decode(value, &rec)
	return end == nil && (err != nil || found && rec.Generation == e.Generation)
}

// wanted is the task of an entry, unless that is stale.
func wanted(e Entry, value, end any) *Task {
	if !asksFor(e, value, end) {
		return nil
	}
	var rec record
	if _, err := decode(value, &rec); err != nil {
		return &Task{ID: e.Task, State: Dead, Fault: &Fault{
			Code: "TaskUnreadable", Message: "this version of the orchestrator cannot read the task as it is stored; one that can may put it back",
		}}
	}
	task := rec.task(e.Task)
	return &task
}

// setBegun notes in the entries' delivery counts how many attempts were begun, which costs no key of its own.
func (q *Redis) setBegun(ctx context.Context, p redis.Pipeliner, entries []Entry) {
	byCount := map[int][]any{}
	for _, e := range entries {
		n := max(0, 1+e.Begun-e.base)
		byCount[n] = append(byCount[n], e.ID)
	}
	for n, ids := range byCount {
		args := append([]any{"XCLAIM", q.logKey(), group, q.name, 0}, ids...)
		p.Do(ctx, append(args, "RETRYCOUNT", n, "JUSTID")...)
	}
}
