package runner

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	ktesting "k8s.io/client-go/testing"

	"dspyagent.io/orchestrator/internal/queue/queuetest"
)

const ofService = "endpointslices+http://dspy?service=runners&port=http"

func slice(name string, family discovery.AddressType, endpoints ...discovery.Endpoint) *discovery.EndpointSlice {
	return &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Namespace: "dspy", Labels: map[string]string{serviceLabel: "runners"}},
		AddressType: family, Endpoints: endpoints,
		Ports: []discovery.EndpointPort{
			{Name: new("metrics"), Port: new(int32(9090))}, {Name: new("http"), Port: new(int32(8080))},
		},
	}
}

// pod is an endpoint; nil conditions count as ready.
func pod(uid, address string, ready, terminating *bool) discovery.Endpoint {
	return discovery.Endpoint{
		Addresses:  []string{address},
		Conditions: discovery.EndpointConditions{Ready: ready, Terminating: terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", UID: types.UID(uid)},
	}
}

func TestEndpointsOfSlices(t *testing.T) {
	yes, no := new(true), new(false)
	for name, c := range map[string]struct {
		slices []any
		want   []string
	}{
		"none": {nil, nil},
		"several slices, both families": {
			[]any{
				slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no), pod("2", "10.0.0.2", nil, nil)),
				slice("b", discovery.AddressTypeIPv6, pod("3", "fd00::3", yes, no)),
			},
			[]string{"http://10.0.0.1:8080", "http://10.0.0.2:8080", "http://[fd00::3]:8080"},
		},
		"not ready, and terminating": {
			[]any{slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", no, no), pod("2", "10.0.0.2", yes, yes), pod("3", "10.0.0.3", yes, no))},
			[]string{"http://10.0.0.3:8080"},
		},
		"one pod in two slices": {
			[]any{
				slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no)),
				slice("b", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no)),
			},
			[]string{"http://10.0.0.1:8080"},
		},
		"of two that contradict, the end is believed": {
			[]any{
				slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", no, yes)),
				slice("b", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no)),
			},
			nil,
		},
		"of two that contradict, ready is believed": {
			[]any{
				slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", no, no)),
				slice("b", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no)),
			},
			[]string{"http://10.0.0.1:8080"},
		},
		"both families of one pod": {
			[]any{
				slice("b", discovery.AddressTypeIPv6, pod("1", "fd00::1", yes, no)),
				slice("a", discovery.AddressTypeIPv4, pod("1", "10.0.0.1", yes, no)),
			},
			[]string{"http://10.0.0.1:8080"},
		},
		"no pods, and names": {
			[]any{
				slice("a", discovery.AddressTypeIPv4, discovery.Endpoint{Addresses: []string{"10.0.0.1"}}, discovery.Endpoint{}),
				slice("b", discovery.AddressTypeFQDN, discovery.Endpoint{Addresses: []string{"runner.example"}}),
			},
			[]string{"http://10.0.0.1:8080"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			targets, err := parseTargets([]string{ofService})
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // whatever the order
				if got := targets[0].endpoints(c.slices); !slices.Equal(got, c.want) {
					t.Errorf("got %v, want %v", got, c.want)
				}
				slices.Reverse(c.slices)
			}
		})
	}
}

func TestPortOfASlice(t *testing.T) {
	two := slice("a", discovery.AddressTypeIPv4)
	one := two.DeepCopy()
	one.Ports = one.Ports[1:]
	one.Ports[0].Name = nil
	every := two.DeepCopy()
	every.Ports = []discovery.EndpointPort{{}}
	for _, c := range []struct {
		port  string
		slice *discovery.EndpointSlice
		want  string
	}{
		{"http", two, "8080"}, {"9090", two, "9090"}, {"grpc", two, ""}, {"", two, ""}, {"", one, "8080"}, {"", every, ""},
	} {
		if got, ok := (target{port: c.port}).portOf(c.slice); got != c.want || ok != (c.want != "") {
			t.Errorf("%q of %v: %q, %v", c.port, c.slice.Ports, got, ok)
		}
	}
}

func TestSliceTargetsAreChecked(t *testing.T) {
	for _, good := range []string{
		ofService, "endpointslices+https://dspy?service=runners",
		"endpointslices+http://dspy?selector=app.kubernetes.io/component=runners&selector=tier!=test&port=8080",
	} {
		if _, err := parseTargets([]string{good}); err != nil || !NeedsKube([]string{"http://a:1", good}) {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"endpointslices+http://dspy", "endpointslices+http://?service=a", "endpointslices+ftp://dspy?service=a",
		"endpointslices+http://dspy:8080?service=a", "endpointslices+http://dspy/runners?service=a",
		"endpointslices+http://dspy?service=a&prot=http", "endpointslices+http://dspy?selector=a%20b",
		"endpointslices+http://dspy?service=a%zz",
	} {
		if _, err := parseTargets([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := NewPool(Options{Targets: []string{ofService}}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a pool without access to Kubernetes was made")
	}
}

// following starts a pool on the fake apiserver; none of its runners exists.
func following(t *testing.T, api *fake.Clientset) *Pool {
	t.Helper()
	p, err := NewPool(Options{
		Targets: []string{ofService}, Kube: api, CheckInterval: time.Hour, CheckTimeout: time.Hour,
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var watch sync.WaitGroup
	watch.Go(func() { p.Watch(ctx) })
	t.Cleanup(func() { cancel(); watch.Wait() })
	return p
}

// offered is where tasks may go.
func (p *Pool) offered() (urls []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.endpoints {
		if !e.gone {
			urls = append(urls, e.url)
		}
	}
	slices.Sort(urls)
	return urls
}

func comesToOffer(t *testing.T, p *Pool, want ...string) {
	t.Helper()
	queuetest.Eventually(t, 20*time.Second, "the runners are "+strings.Join(want, ", "), func() bool {
		return slices.Equal(p.offered(), want)
	})
}

func TestSlicesAreFollowed(t *testing.T) {
	yes, no := new(true), new(false)
	first := slice("a", discovery.AddressTypeIPv4, pod("1", "127.0.0.1", yes, no))
	api := fake.NewClientset(first)
	// The fake does not replay what happens between a list and its watch.
	watched := make(chan struct{}, 1024)
	api.PrependWatchReactor("endpointslices", func(action ktesting.Action) (bool, watch.Interface, error) {
		w, err := api.Tracker().Watch(action.GetResource(), action.GetNamespace())
		watched <- struct{}{}
		return true, w, err
	})
	p := following(t, api)
	comesToOffer(t, p, "http://127.0.0.1:8080")
	<-watched
	ours := api.DiscoveryV1().EndpointSlices("dspy")
	second := slice("b", discovery.AddressTypeIPv4, pod("2", "127.0.0.2", yes, no))
	if _, err := ours.Create(t.Context(), second, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	comesToOffer(t, p, "http://127.0.0.1:8080", "http://127.0.0.2:8080")

	// A terminating runner keeps what it runs.
	p.mu.Lock()
	running := p.endpoints[0]
	running.inFlight++
	p.mu.Unlock()
	first.Endpoints[0].Conditions.Terminating = yes
	if _, err := ours.Update(t.Context(), first, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	comesToOffer(t, p, "http://127.0.0.2:8080")
	if running.ctx.Err() != nil {
		t.Error("what a terminating runner ran was ended")
	}
	if err := ours.Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	comesToOffer(t, p)
	p.mu.Lock()
	p.free(&place{endpoint: running})
	p.mu.Unlock()
	if running.ctx.Err() == nil {
		t.Error("a terminating runner is kept when it runs nothing any more")
	}
}

// TestAnApiserverThatEndsKeepsTheRunners breaks the watch, and has every request refused for a while.
func TestAnApiserverThatEndsKeepsTheRunners(t *testing.T) {
	api := fake.NewClientset(slice("a", discovery.AddressTypeIPv4, pod("1", "127.0.0.1", nil, nil)))
	var away atomic.Bool
	watching := make(chan *watch.FakeWatcher, 1024)
	api.PrependReactor("list", "endpointslices", func(ktesting.Action) (bool, runtime.Object, error) {
		return away.Load(), nil, errors.New("connection refused")
	})
	api.PrependWatchReactor("endpointslices", func(ktesting.Action) (bool, watch.Interface, error) {
		if away.Load() {
			return true, nil, errors.New("connection refused")
		}
		w := watch.NewFake()
		watching <- w
		return true, w, nil
	})
	p := following(t, api)
	comesToOffer(t, p, "http://127.0.0.1:8080")
	away.Store(true)
	(<-watching).Stop()
	troubled := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.problems[0] != nil
	}
	queuetest.Eventually(t, 20*time.Second, "the pool misses the apiserver", troubled)
	if got, err := p.offered(), p.Ready(); len(got) != 1 || err != nil {
		t.Errorf("offers %v, ready: %v", got, err)
	}
	other := slice("b", discovery.AddressTypeIPv4, pod("2", "127.0.0.2", nil, nil))
	if _, err := api.DiscoveryV1().EndpointSlices("dspy").Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	away.Store(false)
	(<-watching).Add(other)
	comesToOffer(t, p, "http://127.0.0.1:8080", "http://127.0.0.2:8080")
	if troubled() {
		t.Error("the pool still misses the apiserver")
	}
}

func TestARefusalIsToldAndTriedAgain(t *testing.T) {
	yes := new(true)
	api := fake.NewClientset(slice("a", discovery.AddressTypeIPv4, pod("1", "127.0.0.1", yes, nil)))
	var refused atomic.Bool
	refused.Store(true)
	api.PrependReactor("list", "endpointslices", func(ktesting.Action) (bool, runtime.Object, error) {
		if !refused.Load() {
			return false, nil, nil
		}
		return true, nil, apierrors.NewForbidden(discovery.Resource("endpointslices"), "", errors.New("no rights"))
	})
	p := following(t, api)
	queuetest.Eventually(t, 20*time.Second, "the pool says that it may not", func() bool {
		err := p.Ready()
		return err != nil && strings.Contains(err.Error(), "may not get, list and watch endpointslices") &&
			strings.Contains(err.Error(), "namespace dspy")
	})
	refused.Store(false)
	comesToOffer(t, p, "http://127.0.0.1:8080")
	if err := p.Ready(); err != nil {
		t.Errorf("got %v after the rights came", err)
	}
}
