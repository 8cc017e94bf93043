"""Follows an AgentSession to its end: a line for each condition that changes, and none of the minutes silent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.common.process import ToolError
from tools.common.progress import Progress

Kubectl = Callable[..., str]


@dataclass(frozen=True)
class Patience:
    """How long to wait for what. A stall may pass, as when an image is pulled again; nobody mends one here, though."""

    finished_seconds: float = 900
    stalled_seconds: float = 30
    look_every_seconds: float = 0.5
    remind_every_seconds: float = 10


def follow(kubectl: Kubectl, name: str, progress: Progress, patience: Patience = Patience()) -> str:
    """Return the session's outcome (Solved, Unsolved, Error); progress goes to `progress` meanwhile.

    Raises:
        ToolError: the session stalled and stayed so, or did not finish within `patience`.
    """
    seen: dict[str, str] = {}
    started = last_told = going = time.monotonic()
    while (now := time.monotonic()) - started < patience.finished_seconds:
        session = json.loads(kubectl("get", "agentsession", name, "-o", "json"))
        for line in news(session, seen):
            progress.line(line)
            last_told = now
        if "Finished" in seen:
            return str(session["status"]["result"]["outcome"])
        if (stall := true_conditions(session).get("Stalled")) is None:
            going = now
        elif now - going >= patience.stalled_seconds:
            raise ToolError(f"The session cannot go on: {stall['message']} ({stall['reason']})")
        if now - last_told >= patience.remind_every_seconds:
            progress.line(f"session: still working, {now - started:.0f} s since it was created")
            last_told = now
        time.sleep(patience.look_every_seconds)
    raise ToolError(
        f"The session did not finish within {patience.finished_seconds:.0f} s; "
        f"`kubectl describe agentsession {name}` says why."
    )


def news(session: dict[str, Any], seen: dict[str, str]) -> list[str]:
    """Conditions that turned True since the last look, as lines; `seen` is brought up to date."""
    lines = []
    holding = true_conditions(session)
    for kind in seen.keys() - holding.keys():
        del seen[kind]
    for kind, condition in holding.items():
        if seen.get(kind) != condition["reason"]:
            seen[kind] = condition["reason"]
            lines.append(f"session: {kind} ({condition['reason']}) {condition.get('message', '')}".rstrip())
    return lines


def true_conditions(session: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions that hold, by type."""
    conditions = session.get("status", {}).get("conditions", [])
    return {each["type"]: each for each in conditions if each["status"] == "True"}
