"""Prometheus metrics of one session, fed by its events."""

from __future__ import annotations

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from dspy_agent.core.events import Event
from dspy_agent.core.tools import default_tools

STEP_BUCKETS = (0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300)


# The model is called like any other tool.
TOOLS = frozenset({*default_tools(), "llm"})
UNKNOWN = "unknown"


class Metrics:
    """Labels are bounded: a tool that does not exist counts as `unknown`, whatever name a model made up."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._steps = Counter(
            "dspy_agent_steps_total", "Tool calls that ran.", ["tool", "ok"], registry=self._registry
        )
        self._seconds = Histogram(
            "dspy_agent_step_seconds",
            "Duration of tool calls.",
            ["tool"],
            buckets=STEP_BUCKETS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "dspy_agent_llm_tokens_total", "Tokens that the model used.", registry=self._registry
        )
        self._ready = Gauge("dspy_agent_ready", "1 once the workspace is ready.", registry=self._registry)

    def observe(self, event: Event) -> None:
        """Count an event."""
        data = event.data
        if event.type == "workspace_ready":
            self._ready.set(1)
        if "tool" not in data:
            return
        tool = data["tool"] if data["tool"] in TOOLS else UNKNOWN
        self._steps.labels(tool, str(data["ok"]).lower()).inc()
        self._seconds.labels(tool).observe(data["seconds"])
        if data["ok"] and event.type == "llm_call":
            self._tokens.inc(data["value"]["usage"]["total_tokens"])

    def render(self) -> bytes:
        """The text format."""
        return generate_latest(self._registry)
