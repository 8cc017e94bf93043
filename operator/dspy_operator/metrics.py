"""What /metrics shows. Labels are bounded: kinds, verbs, resources and results are fixed sets."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One registry per process, so that tests may have many."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.reconcile_seconds = Histogram(
            "dspy_operator_reconcile_seconds",
            "Duration of one reconcile pass.",
            ["kind", "result"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.writes_total = Counter(
            "dspy_operator_apiserver_writes_total",
            "Writes that the apiserver accepted, Lease renewals included.",
            ["verb", "resource"],
            registry=self.registry,
        )
        self.objects = Gauge(
            "dspy_operator_objects", "Objects kept in memory.", ["resource"], registry=self.registry
        )

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when it is scraped."""
        Gauge(f"dspy_operator_{name}", text, registry=self.registry).set_function(read)

    def wrote(self, verb: str, resource: str) -> None:
        """Counts one write."""
        self.writes_total.labels(verb, resource).inc()
