package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/queue"
)

// OldTasks is a queue that knows neither tenants nor scopes.
type OldTasks interface {
	Enqueue(ctx context.Context, subs []queue.Submission) ([]string, error)
	Get(ctx context.Context, id string) (queue.Task, error)
	List(ctx context.Context, state queue.State, limit int, cursor string) (queue.Page, error)
	Cancel(ctx context.Context, id string) (queue.Task, error)
	DeadLetters(ctx context.Context, limit int, cursor string) (queue.Page, error)
	Revive(ctx context.Context, id string) (queue.Task, error)
}

// New returns the handler of /v1 on such a queue, for one token. It goes as soon as nothing calls it.
func New(tasks OldTasks, canceller Canceller, token string, log *slog.Logger) http.Handler {
	return NewAPI(Options{Tasks: oldTasks{tasks}, Canceller: canceller, Auth: oneToken(sha256.Sum256([]byte(token))), Log: log})
}

type oneToken [sha256.Size]byte

func (o oneToken) Authenticate(_ context.Context, token string) (auth.Principal, error) {
	given := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(o[:], given[:]) != 1 {
		return auth.Principal{}, auth.ErrUnknown
	}
	return auth.Principal{Name: "admin", Admin: true}, nil
}

type oldTasks struct{ OldTasks }

func (o oldTasks) GetMany(ctx context.Context, ids []string) ([]queue.Task, error) {
	var tasks []queue.Task
	for _, id := range ids {
		task, err := o.Get(ctx, id)
		if errors.Is(err, queue.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, task)
	}
	return tasks, nil
}

func (o oldTasks) List(ctx context.Context, f queue.Filter, limit int, cursor string) (queue.Page, error) {
	return o.OldTasks.List(ctx, f.State, limit, cursor)
}

func (o oldTasks) DeadLetters(ctx context.Context, _ string, limit int, cursor string) (queue.Page, error) {
	return o.OldTasks.DeadLetters(ctx, limit, cursor)
}

func (o oldTasks) CloseScope(context.Context, string) (queue.Task, error) {
	return queue.Task{}, queue.ErrNotScope
}
