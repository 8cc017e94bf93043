// Package auth finds out who sends a request, and whose tasks they may see and change.
package auth

import (
	"context"
	"errors"
)

// ErrUnknown: nobody is known by this token. Any other error of an authenticator means that it could not be found
// out, and that the client is to try again.
var ErrUnknown = errors.New("the token is not known")

// Verb is what is to be done with a tenant's tasks.
type Verb string

// The verbs: what Kubernetes calls the same in its roles.
const (
	Read  Verb = "get"
	Write Verb = "create" // and cancel, close, retry
)

// Principal is who sent a request.
type Principal struct {
	Name   string
	Tenant string // whose tasks are theirs; empty for who has none of their own
	Admin  bool   // may see and change every tenant's

	rules rules // nil: their own tenant's and no other
}

// rules decide about tenants where the principal alone does not tell.
type rules interface {
	allowed(ctx context.Context, p Principal, verb Verb, tenant string) (bool, error)
}

// Allowed says whether they may do that with the tenant's tasks. Errors: it could not be found out.
func (p Principal) Allowed(ctx context.Context, verb Verb, tenant string) (bool, error) {
	switch {
	case p.Admin:
		return true, nil
	case tenant == "":
		return false, nil // tasks of admins
	case p.rules != nil:
		return p.rules.allowed(ctx, p, verb, tenant)
	}
	return p.Tenant == tenant, nil
}

// Authenticator tells who a token belongs to. Errors: ErrUnknown; others when it could not be found out.
type Authenticator interface {
	Authenticate(ctx context.Context, token string) (Principal, error)
}

// Chain asks one after the other until one knows the token. One that cannot answer does not hide the next;
// but when none knows the token, "unknown" is not what the client is told.
type Chain []Authenticator

// Authenticate implements Authenticator.
func (c Chain) Authenticate(ctx context.Context, token string) (Principal, error) {
	var failed error
	for _, a := range c {
		p, err := a.Authenticate(ctx, token)
		if err == nil {
			return p, nil
		}
		if !errors.Is(err, ErrUnknown) {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		return Principal{}, failed
	}
	return Principal{}, ErrUnknown
}
