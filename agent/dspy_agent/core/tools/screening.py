"""What a screening leaves behind: a file with a line of JSON per candidate edit, `{"index": 7, "outcome": "pass"}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PASS = "pass"  # noqa: S105 - an outcome


def read_answers(text: str | None) -> dict[int, str]:
    """index → outcome. Lines that are no answers are passed over: a process that is cut short may leave half a line."""
    answers: dict[int, str] = {}
    for line in (text or "").splitlines():
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict) and _is_answer(value):
            answers[value["index"]] = value["outcome"]
    return answers


def summary(text: str | None) -> dict[str, int]:
    """How many candidate edits were decided, and how many of them passed."""
    outcomes = list(read_answers(text).values())
    return {"candidates": len(outcomes), "passed": outcomes.count(PASS)}


def _is_answer(value: Mapping[str, Any]) -> bool:
    return type(value.get("index")) is int and isinstance(value.get("outcome"), str)
