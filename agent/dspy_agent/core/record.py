"""How a step is written to the log: bounded, but with a digest by which a replayed call is recognised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from dspy_agent.core.events import MAX_EVENT_BYTES, Event
from dspy_agent.core.policy import Observation, ToolCall
from dspy_agent.errors import ReplayMismatch

ARGUMENTS_LIMIT_CHARACTERS = 16 * 1024
STRING_LIMIT_CHARACTERS = 400
LIST_LIMIT_ITEMS = 20

EVENT_TYPES = {"edit": "edit", "llm": "llm_call"}


def event_type(call: ToolCall) -> str:
    """The event that records the call."""
    return EVENT_TYPES.get(call.tool, "tool_call")


def step_data(
    call: ToolCall, keep_arguments: bool, observation: Observation, seconds: float
) -> dict[str, Any]:
    """The event's data. Long arguments are shortened unless a restart needs them (`keep_arguments`)."""
    text = json.dumps(call.arguments, sort_keys=True, separators=(",", ":"))
    shorten = len(text) > ARGUMENTS_LIMIT_CHARACTERS and not keep_arguments
    return {
        "tool": call.tool,
        "arguments": _shorten(call.arguments) if shorten else call.arguments,
        "arguments_bytes": len(text),
        "arguments_sha256": sha256(text.encode()).hexdigest(),
        "arguments_shortened": shorten,
        "ok": observation.ok,
        "value": observation.value,
        "seconds": round(seconds, 6),
    }


def bounded(observation: Observation) -> Observation:
    """The observation itself, or an error in its place when it would not fit into one event."""
    size = len(json.dumps(observation.value, separators=(",", ":")))
    if size <= MAX_EVENT_BYTES // 2:
        return observation
    message = f"The result has {size} bytes, more than fits; ask for less (fewer candidates, shorter output)."
    return Observation(False, {"code": "ObservationTooLarge", "message": message})


def replay(call: ToolCall, event: Event) -> Observation:
    """The recorded observation of the call. Raises ReplayMismatch when the log has another call there."""
    text = json.dumps(call.arguments, sort_keys=True, separators=(",", ":"))
    data = event.data
    if (data["tool"], data["arguments_sha256"]) != (call.tool, sha256(text.encode()).hexdigest()):
        raise ReplayMismatch(
            f"Event {event.seq} of the log records a call of {data['tool']} that the policy does not repeat "
            f"(it calls {call.tool}); delete the session and create it again."
        )
    return Observation(data["ok"], data["value"])


def _shorten(value: Any) -> Any:
    if isinstance(value, str):
        rest = len(value) - STRING_LIMIT_CHARACTERS
        return value if rest <= 0 else f"{value[:STRING_LIMIT_CHARACTERS]}… ({rest} more characters)"
    if isinstance(value, Mapping):
        return {key: _shorten(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_shorten(item) for item in value[:LIST_LIMIT_ITEMS]]
        return (
            items if len(value) <= LIST_LIMIT_ITEMS else [*items, f"… ({len(value) - LIST_LIMIT_ITEMS} more)"]
        )
    return value
