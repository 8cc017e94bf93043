package auth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"dspyagent.io/orchestrator/internal/auth"
	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// With the rights that Kubernetes has a role for, system:auth-delegator, and no others.
func TestOnARealApiserver(t *testing.T) {
	server, ctx := backendtest.StartApiserver(t), context.Background()
	admin := server.Admin
	k := auth.NewKubernetes(server.User, "orchestrator")
	trainer := serviceAccountToken(t, admin, "team-a", "trainer", "orchestrator")
	if _, err := k.Authenticate(ctx, trainer); err == nil || errors.Is(err, auth.ErrUnknown) {
		t.Fatalf("without the right to ask: %v", err)
	}
	must(t, admin.RbacV1().ClusterRoleBindings(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "orchestrator"}, Subjects: []rbac.Subject{{Kind: "User", APIGroup: rbac.GroupName, Name: "user"}},
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "system:auth-delegator"},
	})
	must(t, admin.RbacV1().ClusterRoles(), &rbac.ClusterRole{ObjectMeta: meta.ObjectMeta{Name: "tasks"}, Rules: []rbac.PolicyRule{
		{APIGroups: []string{"dspyagent.io"}, Resources: []string{"envtasks"}, Verbs: []string{"create", "get"}},
	}})
	toTasks := rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: "tasks"}
	account := func(namespace, name string) []rbac.Subject {
		return []rbac.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: name}}
	}
	must(t, admin.RbacV1().RoleBindings("team-a"), &rbac.RoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "tasks"}, RoleRef: toTasks, Subjects: account("team-a", "trainer"),
	})
	must(t, admin.RbacV1().ClusterRoleBindings(), &rbac.ClusterRoleBinding{
		ObjectMeta: meta.ObjectMeta{Name: "tasks"}, RoleRef: toTasks, Subjects: account("release", "operator"),
	})
	operator := serviceAccountToken(t, admin, "release", "operator", "orchestrator")

	comesToAllow(t, admin, "system:serviceaccount:team-a:trainer", "team-a")
	comesToAllow(t, admin, "system:serviceaccount:release:operator", "")
	got := eventually(t, k, trainer)
	if got.Name != "system:serviceaccount:team-a:trainer" || got.Tenant != "team-a" || got.Admin {
		t.Errorf("%+v", got)
	}
	for tenant, want := range map[string]bool{"team-a": true, "team-b": false, "release": false} {
		for _, verb := range []auth.Verb{auth.Read, auth.Write} {
			if allowed, err := got.Allowed(ctx, verb, tenant); err != nil || allowed != want {
				t.Errorf("%s in %s: %v, %v", verb, tenant, allowed, err)
			}
		}
	}
	if got := eventually(t, k, operator); !got.Admin || got.Tenant != "release" {
		t.Errorf("%+v", got)
	}
	elsewhere := serviceAccountToken(t, admin, "team-a", "trainer", "another-service")
	for _, token := range []string{elsewhere, trainer[:len(trainer)-4] + "AAAA", "tests-only-user"} {
		if _, err := k.Authenticate(ctx, token); !errors.Is(err, auth.ErrUnknown) {
			t.Errorf("%.8s…: %v", token, err)
		}
	}
	// People's tokens are meant for the apiserver, so theirs is an audience to add.
	people := auth.NewKubernetes(server.User, "orchestrator", "https://tests.invalid")
	if got := eventually(t, people, "tests-only-user"); got.Name != "user" || got.Tenant != "" || got.Admin {
		t.Errorf("%+v", got)
	}
	server.Kill(t)
	if _, err := auth.NewKubernetes(server.User, "orchestrator").Authenticate(ctx, trainer); err == nil || errors.Is(err, auth.ErrUnknown) {
		t.Errorf("with the apiserver gone: %v", err)
	}
}

// comesToAllow: the apiserver's authorizer learns of a role a moment after it was made.
func comesToAllow(t *testing.T, admin kubernetes.Interface, user, namespace string) {
	t.Helper()
	about := &authorization.ResourceAttributes{Group: "dspyagent.io", Resource: "envtasks", Verb: "create", Namespace: namespace}
	queuetest.Eventually(t, time.Minute, user+" may create tasks", func() bool {
		review, err := admin.AuthorizationV1().SubjectAccessReviews().Create(context.Background(), &authorization.SubjectAccessReview{
			Spec: authorization.SubjectAccessReviewSpec{User: user, ResourceAttributes: about},
		}, meta.CreateOptions{})
		return err == nil && review.Status.Allowed
	})
}

func eventually(t *testing.T, k *auth.Kubernetes, token string) (who auth.Principal) {
	t.Helper()
	queuetest.Eventually(t, time.Minute, "the token is known", func() bool {
		var err error
		who, err = k.Authenticate(context.Background(), token)
		return err == nil
	})
	return who
}

// creator is what typed clients have in common.
type creator[T any] interface {
	Create(context.Context, T, meta.CreateOptions) (T, error)
}

func must[T any](t *testing.T, in creator[T], object T) T {
	t.Helper()
	made, err := in.Create(context.Background(), object, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func serviceAccountToken(t *testing.T, client kubernetes.Interface, namespace, name, audience string) string {
	t.Helper()
	ctx := context.Background()
	if _, err := client.CoreV1().Namespaces().Get(ctx, namespace, meta.GetOptions{}); err != nil {
		must(t, client.CoreV1().Namespaces(), &core.Namespace{ObjectMeta: meta.ObjectMeta{Name: namespace}})
	}
	accounts := client.CoreV1().ServiceAccounts(namespace)
	if _, err := accounts.Get(ctx, name, meta.GetOptions{}); err != nil {
		must(t, accounts, &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: name}})
	}
	made, err := accounts.CreateToken(ctx, name, &authentication.TokenRequest{
		Spec: authentication.TokenRequestSpec{Audiences: []string{audience}},
	}, meta.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return made.Status.Token
}
