package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/queue"
)

type principalKey struct{}

// authenticated lets through whose token is known, and remembers who they are.
func (a *API) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		who, err := auth.Principal{}, auth.ErrUnknown
		if found && token != "" {
			who, err = a.Auth.Authenticate(r.Context(), token)
		}
		switch {
		case errors.Is(err, auth.ErrUnknown):
			w.Header().Set("WWW-Authenticate", "Bearer")
			write(w, fail(401, "Unauthorized", "Send the orchestrator's token as Authorization: Bearer <token>."))
		case err != nil:
			write(w, a.undecided(r.Context(), err))
		default:
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), principalKey{}, who)))
		}
	})
}

// principal is who sent the request of ctx; nobody may do anything outside of one.
func principal(ctx context.Context) auth.Principal {
	who, _ := ctx.Value(principalKey{}).(auth.Principal)
	return who
}

// undecided: whoever knows what the client may do does not answer. That is no refusal.
func (a *API) undecided(ctx context.Context, err error) *Error {
	a.Log.ErrorContext(ctx, "cannot find out what a client may do", "error", err)
	return failForNow(503, "AuthUnavailable", "What this token may do cannot be found out now; try again in a few seconds.")
}

var errOtherTenant = fail(403, "Forbidden", "Your token may not do this with that tenant's tasks.")

// mayUse returns nil when the client may do that with the tenant's tasks.
func (a *API) mayUse(ctx context.Context, verb auth.Verb, tenant string) error {
	allowed, err := principal(ctx).Allowed(ctx, verb, tenant)
	if err != nil {
		return a.undecided(ctx, err)
	}
	if !allowed {
		return errOtherTenant
	}
	return nil
}

// mayRunOn returns nil when the tenant's tasks may go to that backend.
func (a *API) mayRunOn(place, tenant string) error {
	if place != queue.SlurmBackend || tenant == "" || len(a.SlurmTenants) == 0 || slices.Contains(a.SlurmTenants, tenant) {
		return nil
	}
	return fail(403, "BackendForbidden", fmt.Sprintf("Tasks of the tenant %q may not go to Slurm here; "+
		"send them to the runners, or have it added to the orchestrator's slurm-tenants.", tenant))
}

// reach reads a task that the client may do that with. One that they may not even see does not exist for them.
func (a *API) reach(ctx context.Context, verb auth.Verb, id string) (queue.Task, error) {
	task, err := a.Tasks.Get(ctx, id)
	if err != nil {
		return task, a.explain(ctx, err)
	}
	err = a.mayUse(ctx, verb, task.Spec.Tenant)
	if !errors.Is(err, errOtherTenant) {
		return task, err
	}
	if verb != auth.Read && a.mayUse(ctx, auth.Read, task.Spec.Tenant) == nil {
		return task, errOtherTenant
	}
	return queue.Task{}, a.explain(ctx, queue.ErrNotFound)
}

// among is the tenant whose tasks a listing shows: the one asked for, or the client's own; empty for all of them.
func (a *API) among(ctx context.Context, asked string) (string, error) {
	who := principal(ctx)
	if asked == "" && !who.Admin {
		asked = who.Tenant
	}
	if asked == "" && !who.Admin {
		return "", fail(422, "TenantRequired", "Your token has no tenant of its own: say whose tasks, ?tenant=<namespace>.")
	}
	if asked == "" {
		return "", nil
	}
	return asked, a.mayUse(ctx, auth.Read, asked)
}

// owner is the tenant of a new task: the one asked for where the client may, or their own.
func (a *API) owner(ctx context.Context, asked string) (string, error) {
	who := principal(ctx)
	tenant := cmp.Or(asked, who.Tenant)
	if tenant == "" && !who.Admin {
		return "", fail(422, "TenantRequired", "Your token has no tenant of its own: say whose the task is, \"tenant\": \"<namespace>\".")
	}
	return tenant, a.mayUse(ctx, auth.Write, tenant)
}
