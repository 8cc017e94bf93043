package runner

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"

	discovery "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// followSlices keeps a target's runners those of its EndpointSlices until ctx ends. While the apiserver cannot be
// asked, those known stay.
func (p *Pool) followSlices(ctx context.Context, i int) {
	t := p.targets[i]
	informer := cache.NewSharedInformer(p.listWatch(i), &discovery.EndpointSlice{}, 0)
	changed := func() { p.replace(ctx, i, t.endpoints(informer.GetStore().List())) }
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil { // only of an informer that was stopped
		p.trouble(i, err)
		return
	}
	// What lists and watches say is told by listWatch; the rest is a stream that broke off and is begun anew.
	err = informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		p.log.Debug("watching the runners was interrupted", "target", t.text, "error", err)
	})
	if err != nil {
		p.trouble(i, err)
		return
	}
	informer.RunWithContext(ctx)
}

// listWatch asks for a target's slices and notes whether that worked.
func (p *Pool) listWatch(i int) *cache.ListWatch {
	t := p.targets[i]
	api := p.opt.Kube.DiscoveryV1().EndpointSlices(t.namespace)
	note := func(ctx context.Context, err error) {
		if ctx.Err() == nil && !apierrors.IsResourceExpired(err) {
			p.trouble(i, t.explain(err))
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.LabelSelector = t.selector.String()
			list, err := api.List(ctx, options)
			note(ctx, err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.LabelSelector = t.selector.String()
			w, err := api.Watch(ctx, options)
			note(ctx, err)
			return w, err
		},
	}
}

func (t target) explain(err error) error {
	if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) {
		return fmt.Errorf("the service account may not get, list and watch endpointslices (discovery.k8s.io) in namespace %s: %w", t.namespace, err)
	}
	return err
}

// endpoints is one URL per runner in the slices that may be given tasks. The same endpoint can be in several slices
// for a while, with different conditions: the end of a pod is final, so it is believed wherever it stands. A pod
// with addresses of both families is one runner, reached by the first: IPv4.
func (t target) endpoints(objects []any) []string {
	offered, ending := map[string]string{}, map[string]bool{}
	for _, object := range objects {
		slice, ok := object.(*discovery.EndpointSlice)
		if !ok || slice.AddressType == discovery.AddressTypeFQDN {
			continue
		}
		port, ok := t.portOf(slice)
		if !ok {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if len(endpoint.Addresses) == 0 {
				continue
			}
			id, url := identity(endpoint), t.scheme+"://"+net.JoinHostPort(endpoint.Addresses[0], port)
			if c := endpoint.Conditions; c.Terminating != nil && *c.Terminating {
				ending[id] = true
			} else if c.Ready == nil || *c.Ready {
				offered[id] = preferred(offered[id], url, slice.AddressType)
			}
		}
	}
	maps.DeleteFunc(offered, func(id, _ string) bool { return ending[id] })
	return slices.Sorted(maps.Values(offered))
}

// identity is the same for all addresses of one pod.
func identity(e discovery.Endpoint) string {
	if e.TargetRef != nil && e.TargetRef.UID != "" {
		return string(e.TargetRef.UID)
	}
	return e.Addresses[0]
}

func preferred(known, url string, family discovery.AddressType) string {
	if known == "" || family == discovery.AddressTypeIPv4 {
		return url
	}
	return known
}

// portOf is the target's port in a slice: by its name or number, or the only one.
func (t target) portOf(slice *discovery.EndpointSlice) (string, bool) {
	for _, port := range slice.Ports {
		if port.Port == nil {
			continue
		}
		number := strconv.Itoa(int(*port.Port))
		named := port.Name != nil && *port.Name == t.port
		if (t.port == "" && len(slice.Ports) == 1) || named || number == t.port {
			return number, true
		}
	}
	return "", false
}
