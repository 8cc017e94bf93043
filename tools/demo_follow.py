"""Follows an AgentSession to its end: a line for each condition that changes, and none of the minutes silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from tools.common.process import ToolError
from tools.common.progress import Progress

Kubectl = Callable[..., str]

LONGEST_SECONDS = 900
LOOK_EVERY_SECONDS = 0.5
REMIND_EVERY_SECONDS = 10


def follow(kubectl: Kubectl, name: str, progress: Progress) -> str:
    """Return the session's outcome (Solved, Unsolved, Error); progress goes to `progress` meanwhile.

    Raises:
        ToolError: the session did not finish within 15 minutes.
    """
    seen: dict[str, str] = {}
    started = last_told = time.monotonic()
    while time.monotonic() - started < LONGEST_SECONDS:
        session = json.loads(kubectl("get", "agentsession", name, "-o", "json"))
        for line in news(session, seen):
            progress.line(line)
            last_told = time.monotonic()
        if "Finished" in seen:
            return str(session["status"]["result"]["outcome"])
        if time.monotonic() - last_told >= REMIND_EVERY_SECONDS:
            progress.line(f"session: still working, {time.monotonic() - started:.0f} s since it was created")
            last_told = time.monotonic()
        time.sleep(LOOK_EVERY_SECONDS)
    raise ToolError(
        f"The session did not finish within {LONGEST_SECONDS} s; `kubectl describe agentsession {name}` says why."
    )


def news(session: dict[str, Any], seen: dict[str, str]) -> list[str]:
    """Conditions that turned True since the last look, as lines; `seen` is brought up to date."""
    lines = []
    for condition in session.get("status", {}).get("conditions", []):
        if condition["status"] == "True" and seen.get(condition["type"]) != condition["reason"]:
            seen[condition["type"]] = condition["reason"]
            lines.append(
                f"session: {condition['type']} ({condition['reason']}) {condition.get('message', '')}".rstrip()
            )
    return lines
