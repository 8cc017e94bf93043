package auth_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"dspyagent.io/orchestrator/internal/auth"
)

const (
	account = "system:serviceaccount:team-a:trainer"
	robot   = "system:serviceaccount:dspy-agent:operator"
)

// cluster is an apiserver that knows tokens by their user's name, and some grants: "user verb namespace", * for all.
type cluster struct {
	mu       sync.Mutex
	users    map[string]authentication.UserInfo
	grants   []string
	audience string
	down     error
	hold     chan struct{} // reviews wait for it
	tokens   int           // reviews of tokens
	accesses int
}

func (c *cluster) client() *fake.Clientset {
	client := fake.NewClientset()
	client.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if c.hold != nil {
			<-c.hold
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.tokens++
		review := action.(clienttesting.CreateAction).GetObject().(*authentication.TokenReview)
		user, known := c.users[review.Spec.Token]
		if known && slices.Contains(review.Spec.Audiences, c.audience) {
			review.Status = authentication.TokenReviewStatus{Authenticated: true, User: user, Audiences: []string{c.audience}}
		}
		return true, review, c.down
	})
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.accesses++
		review := action.(clienttesting.CreateAction).GetObject().(*authorization.SubjectAccessReview)
		a := review.Spec.ResourceAttributes
		if a.Group != "dspyagent.io" || a.Resource != "envtasks" {
			return true, nil, errors.New("about something else")
		}
		for _, in := range []string{"*", a.Namespace} {
			for _, who := range append([]string{review.Spec.User}, review.Spec.Groups...) {
				review.Status.Allowed = review.Status.Allowed || slices.Contains(c.grants, who+" "+a.Verb+" "+in)
			}
		}
		return true, review, c.down
	})
	return client
}

func newCluster(grants ...string) *cluster {
	return &cluster{audience: "orchestrator", grants: grants, users: map[string]authentication.UserInfo{
		"sa": {Username: account}, "op": {Username: robot}, "ann": {Username: "ann", Groups: []string{"devs"}},
	}}
}

func TestWhoTheClusterKnows(t *testing.T) {
	c := newCluster(account+" create team-a", account+" get team-a", robot+" create *", robot+" get *", "devs get team-a", "ann create *")
	k, ctx := auth.NewKubernetes(c.client(), "orchestrator", "other"), context.Background()
	for token, want := range map[string]auth.Principal{
		"sa": {Name: account, Tenant: "team-a"}, "op": {Name: robot, Tenant: "dspy-agent", Admin: true}, "ann": {Name: "ann"},
	} {
		got, err := k.Authenticate(ctx, token)
		if err != nil || got.Name != want.Name || got.Tenant != want.Tenant || got.Admin != want.Admin {
			t.Errorf("%s: %+v, %v", token, got, err)
		}
	}
	for _, q := range []struct {
		token  string
		verb   auth.Verb
		tenant string
		want   bool
	}{
		{"sa", auth.Write, "team-a", true}, {"sa", auth.Read, "team-a", true}, {"sa", auth.Read, "team-b", false}, {"sa", auth.Read, "", false},
		{"op", auth.Write, "team-b", true}, {"ann", auth.Read, "team-a", true}, {"ann", auth.Read, "team-b", false},
		{"ann", auth.Write, "team-b", true}, {"ann", auth.Write, "../b", false}, {"ann", auth.Write, "", false},
	} {
		who, err := k.Authenticate(ctx, q.token)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := who.Allowed(ctx, q.verb, q.tenant); err != nil || got != q.want {
			t.Errorf("%s %s in %q: %v, %v", q.token, q.verb, q.tenant, got, err)
		}
	}
	if _, err := k.Authenticate(ctx, "stranger"); !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("a stranger: %v", err)
	}
}

func TestATokenForSomebodyElseIsNotForUs(t *testing.T) {
	c := newCluster()
	c.audience = "https://kubernetes.default.svc"
	if _, err := auth.NewKubernetes(c.client(), "orchestrator").Authenticate(context.Background(), "sa"); !errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

func TestAClusterThatDoesNotAnswerRefusesNobody(t *testing.T) {
	c, ctx := newCluster("ann get team-a"), context.Background()
	c.down = errors.New("connection refused")
	k := auth.NewKubernetes(c.client(), "orchestrator")
	if _, err := k.Authenticate(ctx, "ann"); err == nil || errors.Is(err, auth.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	c.down = nil
	ann, err := k.Authenticate(ctx, "ann")
	if err != nil {
		t.Fatalf("a failure was remembered: %v", err)
	}
	c.down = errors.New("connection refused")
	if _, err := ann.Allowed(ctx, auth.Read, "team-a"); err == nil {
		t.Error("decided without the cluster")
	}
	c.down = nil
	if allowed, err := ann.Allowed(ctx, auth.Read, "team-a"); err != nil || !allowed {
		t.Errorf("afterwards: %v, %v", allowed, err)
	}
}

func TestAnswersAreRememberedForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, ctx := newCluster("ann get team-a"), context.Background()
		k := auth.NewKubernetes(c.client(), "orchestrator")
		reads := func() bool {
			ann, err := k.Authenticate(ctx, "ann")
			if err != nil {
				return false
			}
			allowed, err := ann.Allowed(ctx, auth.Read, "team-a")
			return allowed && err == nil
		}
		for range 100 {
			if !reads() {
				t.Fatal("refused")
			}
		}
		if c.tokens != 1 || c.accesses != 2 {
			t.Errorf("asked %d times about the token, %d about access", c.tokens, c.accesses)
		}
		delete(c.users, "ann")
		time.Sleep(59 * time.Second)
		if !reads() {
			t.Error("forgotten too early")
		}
		time.Sleep(2 * time.Second)
		if reads() {
			t.Error("a token that is no more was remembered for longer than a minute")
		}
		c.users["ann"] = authentication.UserInfo{Username: "ann"}
		time.Sleep(6 * time.Second)
		if !reads() {
			t.Error("a refusal was remembered for longer than its five seconds")
		}
	})
}

func TestManyAtOnceAreOneQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster()
		c.hold = make(chan struct{})
		k := auth.NewKubernetes(c.client(), "orchestrator")
		leaving, leave := context.WithCancel(context.Background())
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := k.Authenticate(leaving, "ann"); !errors.Is(err, context.Canceled) {
				t.Errorf("who left: %v", err)
			}
		})
		synctest.Wait()
		for range 20 {
			all.Go(func() {
				if who, err := k.Authenticate(context.Background(), "ann"); err != nil || who.Name != "ann" {
					t.Errorf("%+v, %v", who, err)
				}
			})
		}
		synctest.Wait()
		leave()
		synctest.Wait()
		close(c.hold)
		all.Wait()
		if c.tokens != 1 {
			t.Errorf("asked %d times", c.tokens)
		}
	})
}
