// Package kube makes the client of the cluster that the orchestrator runs in.
package kube

import (
	"fmt"
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// InCluster is a client with the rights of the pod's service account. It does not reach out: an apiserver
// that cannot be reached, or refuses, shows with the first request.
func InCluster() (kubernetes.Interface, error) {
	config, err := rest.InClusterConfig()
	if err != nil {
		return nil, fmt.Errorf("no access to Kubernetes from here (is a service account's token mounted?): %w", err)
	}
	config.UserAgent = "dspy-orchestrator"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("a client of Kubernetes: %w", err)
	}
	return client, nil
}

// LogTo sends what Kubernetes' libraries log by themselves to log; without it, it goes to standard error in a
// format of their own. To be called once, before they are used.
func LogTo(log *slog.Logger) { klog.SetSlogLogger(log.With("component", "kubernetes")) }
