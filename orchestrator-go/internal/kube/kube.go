// Package kube makes the client of the cluster that the orchestrator runs in.
package kube

import (
	"errors"
	"fmt"
	"log/slog"

	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"
	authorization "k8s.io/client-go/kubernetes/typed/authorization/v1"
	discovery "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// Client is the part of Kubernetes' API that the orchestrator uses. A whole clientset is one, too, and
// brings every other one along.
type Client interface {
	AuthenticationV1() authentication.AuthenticationV1Interface
	AuthorizationV1() authorization.AuthorizationV1Interface
	DiscoveryV1() discovery.DiscoveryV1Interface
}

// InCluster is a client with the rights of the pod's service account. It does not reach out: an apiserver
// that cannot be reached, or refuses, shows with the first request.
func InCluster() (Client, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("no access to Kubernetes from here (is a service account's token mounted?): %w", err)
	}
	config.UserAgent = "dspy-orchestrator"
	// The library's 5 a second would have whoever sends made-up tokens keep everybody else's from being looked at.
	config.QPS, config.Burst = 50, 100
	var c client
	var errs [3]error
	c.authentication, errs[0] = authentication.NewForConfig(config)
	c.authorization, errs[1] = authorization.NewForConfig(config)
	c.discovery, errs[2] = discovery.NewForConfig(config)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("a client of Kubernetes: %w", err)
	}
	return c, nil
}

type client struct {
	authentication *authentication.AuthenticationV1Client
	authorization  *authorization.AuthorizationV1Client
	discovery      *discovery.DiscoveryV1Client
}

// AuthenticationV1 has the TokenReviews.
func (c client) AuthenticationV1() authentication.AuthenticationV1Interface { return c.authentication }

// AuthorizationV1 has the SubjectAccessReviews.
func (c client) AuthorizationV1() authorization.AuthorizationV1Interface { return c.authorization }

// DiscoveryV1 has the EndpointSlices.
func (c client) DiscoveryV1() discovery.DiscoveryV1Interface { return c.discovery }

// LogTo sends what Kubernetes' libraries log by themselves to log; without it, it goes to standard error in a
// format of their own. To be called once, before they are used.
func LogTo(log *slog.Logger) { klog.SetSlogLogger(log.With("component", "kubernetes")) }
