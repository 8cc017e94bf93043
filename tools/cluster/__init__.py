"""A Kubernetes for whoever has none: `python3 -m tools.cluster up`."""
