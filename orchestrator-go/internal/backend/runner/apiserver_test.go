package runner

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dspyagent.io/orchestrator/internal/backend/backendtest"
	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

// TestSlicesOfARealApiserver goes through what a cluster may do to a pool: refuse it, grant, crash, come back.
func TestSlicesOfARealApiserver(t *testing.T) {
	if testing.Short() {
		t.Skip("starts an apiserver")
	}
	api := backendtest.StartApiserver(t)
	ctx := t.Context()
	create := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("creating %s: %v", what, err)
		}
	}
	_, err := api.Admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "dspy"}}, metav1.CreateOptions{})
	create("the namespace", err)
	slices := api.Admin.DiscoveryV1().EndpointSlices("dspy")
	_, err = slices.Create(ctx, slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", new(true), nil)), metav1.CreateOptions{})
	create("a slice", err)

	var log lines
	p, err := NewPool(Options{
		Targets: []string{ofService}, Kube: api.User, CheckInterval: time.Hour, CheckTimeout: time.Hour,
	}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	watched, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { p.Watch(watched) })
	t.Cleanup(func() { stop(); watch.Wait() })
	queuetest.Eventually(t, 30*time.Second, "the refusal is told", func() bool {
		return p.Ready() != nil && strings.Contains(log.String(), "may not get, list and watch endpointslices")
	})

	grant(t, api)
	comesToOffer(t, p, "http://10.0.0.1:8080")
	api.Kill(t)
	queuetest.Eventually(t, 30*time.Second, "the apiserver is missed", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.problems[0] != nil
	})
	if got := p.offered(); len(got) != 1 {
		t.Errorf("without an apiserver the pool offers %v", got)
	}
	api.Start(t)
	_, err = slices.Create(ctx, slice("b", discovery.AddressTypeIPv6, pod("2", "fd00::2", new(true), nil)), metav1.CreateOptions{})
	create("another slice", err)
	comesToOffer(t, p, "http://10.0.0.1:8080", "http://[fd00::2]:8080")
	if n := strings.Count(log.String(), "may not get"); n > 2 {
		t.Errorf("the refusal was logged %d times", n)
	}
}

// grant lets the user do what the chart's Role says.
func grant(t *testing.T, api *backendtest.Apiserver) {
	t.Helper()
	name := metav1.ObjectMeta{Name: "runners"}
	_, err := api.Admin.RbacV1().Roles("dspy").Create(t.Context(), &rbac.Role{ObjectMeta: name, Rules: []rbac.PolicyRule{{
		APIGroups: []string{discovery.GroupName}, Resources: []string{"endpointslices"}, Verbs: []string{"get", "list", "watch"},
	}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = api.Admin.RbacV1().RoleBindings("dspy").Create(t.Context(), &rbac.RoleBinding{
		ObjectMeta: name, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "runners"},
		Subjects: []rbac.Subject{{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: "user"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// lines collects a log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
