"""What the model is shown of the steps so far: the newest in full, older ones in a line, within a fixed size."""

from __future__ import annotations

import json
from dataclasses import dataclass

from dspy_agent.core.policy import Observation, ToolCall

CONTEXT_CHARACTERS = 60_000
RESULT_CHARACTERS = 12_000
OLD_RESULT_CHARACTERS = 160


@dataclass(frozen=True)
class Step:
    """One turn: what the model thought and called, and what came back."""

    thought: str
    call: ToolCall
    observation: Observation


def render(steps: list[Step], limit: int = CONTEXT_CHARACTERS) -> str:
    """The steps as text of at most about `limit` characters; the last step is always whole."""
    texts: list[str] = []
    used = 0
    for number, step in reversed(list(enumerate(steps, 1))):
        text = _render(number, step, RESULT_CHARACTERS)
        if texts and used + len(text) > limit:
            text = _render(number, step, OLD_RESULT_CHARACTERS)
        if texts and used + len(text) > limit:
            texts.append(f"(steps 1 to {number} are left out)")
            break
        texts.append(text)
        used += len(text)
    return "\n\n".join(reversed(texts)) or "(none yet)"


def _render(number: int, step: Step, limit: int) -> str:
    arguments = _clip(json.dumps(step.call.arguments), max(limit, OLD_RESULT_CHARACTERS))
    return (
        f"### step {number}: {step.call.tool} {arguments}\n"
        f"thought: {_clip(step.thought, limit)}\n"
        f"{'result' if step.observation.ok else 'error'}: {_clip(_text(step.observation), limit)}"
    )


def _text(observation: Observation) -> str:
    if not observation.ok:
        return str(observation.value.get("message", ""))
    if "content" in observation.value:
        return str(observation.value["content"])
    return json.dumps(observation.value)


def _clip(text: str, limit: int) -> str:
    """Head and tail: errors tend to be at the end of an output, what it is about at its beginning."""
    if len(text) <= limit:
        return text
    head, tail = limit // 3, limit - limit // 3
    return f"{text[:head]}\n… ({len(text) - limit} characters left out) …\n{text[-tail:]}"
