package runner

import (
	"fmt"
	"net"
	"net/url"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

const (
	dnsPrefix    = "dns+"
	slicesPrefix = "endpointslices+"
	serviceLabel = "kubernetes.io/service-name"
)

// kind says how a target's runners are found.
type kind int

const (
	static kind = iota
	dns
	byService
)

// target is one item of the configured list of runners.
type target struct {
	text string
	kind kind
	url  string // for dns, of which the host is replaced by each address
	host string

	// Of EndpointSlices.
	scheme, namespace string
	selector          labels.Selector
	port              string // name or number; empty for the only one
}

// NeedsKube says whether some of the targets are EndpointSlices, for which Options.Kube is to be set.
func NeedsKube(items []string) bool {
	for _, item := range items {
		if strings.HasPrefix(item, slicesPrefix) {
			return true
		}
	}
	return false
}

// parseTargets reads
//
//	http://host:port             one runner
//	dns+http://name:port         a runner at every address that the name has
//	endpointslices+http://namespace?service=name&port=http
//	endpointslices+http://namespace?selector=label=value&selector=other&port=8080
//	                             every endpoint in the slices of a service, or with labels (all of the selectors
//	                             must match); port is a name or a number and may be left out where there is one
func parseTargets(items []string) ([]target, error) {
	var targets []target
	for _, item := range items {
		parse := parseURL
		if strings.HasPrefix(item, slicesPrefix) {
			parse = parseSlices
		}
		t, err := parse(item)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func parseURL(item string) (target, error) {
	text, name := strings.CutPrefix(item, dnsPrefix)
	u, err := url.Parse(text)
	if err != nil {
		return target{}, fmt.Errorf("runner %q: %w", item, err)
	}
	if !isHTTP(u) || u.RawQuery != "" {
		return target{}, fmt.Errorf("runner %q: want http://host:port, %shttp://name:port for every address of a name, "+
			"or %shttp://namespace?service=name", item, dnsPrefix, slicesPrefix)
	}
	t := target{text: item, url: strings.TrimSuffix(text, "/"), host: u.Hostname()}
	if name {
		t.kind = dns
		if u.Port() == "" {
			return target{}, fmt.Errorf("runner %q: a name to look up needs a port", item)
		}
	}
	return t, nil
}

func isHTTP(u *url.URL) bool {
	return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil
}

func parseSlices(item string) (target, error) {
	fail := func(why any) (target, error) { return target{}, fmt.Errorf("runners %q: %v", item, why) }
	u, err := url.Parse(strings.TrimPrefix(item, slicesPrefix))
	if err != nil {
		return fail(err)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return fail(err)
	}
	if !isHTTP(u) || u.Port() != "" || strings.Trim(u.Path, "/") != "" {
		return fail("want " + slicesPrefix + "http://namespace?service=name&port=http, or selector=label=value in place of service")
	}
	t := target{text: item, kind: byService, scheme: u.Scheme, namespace: u.Hostname(), port: query.Get("port")}
	terms := query["selector"]
	if service := query.Get("service"); service != "" {
		terms = append(terms, serviceLabel+"="+service)
	}
	for key := range query {
		if key != "selector" && key != "service" && key != "port" {
			return fail("unknown parameter " + key + "; want service, selector and port")
		}
	}
	if len(terms) == 0 {
		return fail("name a service, or give a selector")
	}
	if t.selector, err = labels.Parse(strings.Join(terms, ",")); err != nil {
		return fail(err)
	}
	return t, nil
}

// expand is one base URL per address.
func (t target) expand(addresses []string) ([]string, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return nil, err
	}
	port := u.Port()
	urls := make([]string, len(addresses))
	for i, address := range addresses {
		u.Host = net.JoinHostPort(address, port)
		urls[i] = u.String()
	}
	return urls, nil
}
