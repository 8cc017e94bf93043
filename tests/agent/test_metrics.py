"""The metrics of a session: what they count, and that nobody can make them grow."""

from __future__ import annotations

from typing import Any

from dspy_agent.core.events import Event
from dspy_agent.pod.metrics import Metrics


def step(event_type: str, tool: str, ok: bool = True, value: dict[str, Any] | None = None) -> Event:
    data = {"tool": tool, "ok": ok, "seconds": 0.1, "value": value or {}}
    return Event(1, event_type, "2026-01-01T00:00:00.000Z", 0.0, data)


def test_steps_and_tokens_are_counted() -> None:
    metrics = Metrics()
    metrics.observe(Event(1, "workspace_ready", "2026-01-01T00:00:00.000Z", 0.0, {}))
    metrics.observe(step("edit", "edit"))
    metrics.observe(step("llm_call", "llm", value={"usage": {"total_tokens": 12}}))
    text = metrics.render().decode()
    assert "dspy_agent_ready 1.0" in text
    assert 'dspy_agent_steps_total{ok="true",tool="edit"} 1.0' in text
    assert "dspy_agent_llm_tokens_total 12.0" in text


def test_tools_that_a_model_made_up_share_one_label() -> None:
    metrics = Metrics()
    for number in range(50):
        metrics.observe(step("tool_call", f"tool-{number}", ok=False))
    text = metrics.render().decode()
    assert 'dspy_agent_steps_total{ok="false",tool="unknown"} 50.0' in text
    assert "tool-1" not in text
