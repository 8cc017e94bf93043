package runner

import (
	"fmt"
	"net"
	"net/url"
	"strings"
)

const dnsPrefix = "dns+"

// target is one item of the configured list of runners.
type target struct {
	url  string // for dns, of which the host is replaced by each address
	dns  bool
	host string
}

func parseTargets(items []string) ([]target, error) {
	var targets []target
	for _, item := range items {
		text, dns := strings.CutPrefix(item, dnsPrefix)
		u, err := url.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("runner %q: %w", item, err)
		}
		if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
			return nil, fmt.Errorf("runner %q: want http://host:port, or dns+http://name:port for every address of a name", item)
		}
		if dns && u.Port() == "" {
			return nil, fmt.Errorf("runner %q: a name to look up needs a port", item)
		}
		targets = append(targets, target{url: strings.TrimSuffix(text, "/"), dns: dns, host: u.Hostname()})
	}
	return targets, nil
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
