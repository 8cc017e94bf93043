"""Conditions as the API conventions have them, and whether a status is worth a write."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from dspy_operator.store import Object

Status = Literal["True", "False", "Unknown"]

_MESSAGE_MAX = 2048
# Progress that nobody waits for rides with the next material change, or is written alone after MINOR_DELAY_S: a session
# that starts quickly costs three status writes, and one that does not still tells the truth.
MINOR_DELAY_S = 5.0
_REASON_MATTERS = frozenset({"Stalled", "Finished", "Complete", "Failed", "Suspended"})


@dataclass(frozen=True)
class Minor:
    """Of a kind's status, what can wait for `delay_s`."""

    conditions: frozenset[str] = frozenset({"Scheduled", "WorkspaceReady"})
    fields: frozenset[str] = frozenset({"checkpoint", "logPosition", "nodeName", "phase", "progress"})
    delay_s: float = MINOR_DELAY_S


@dataclass(frozen=True)
class Condition:
    """One condition without its bookkeeping (transition time, generation)."""

    type: str
    status: Status
    reason: str
    message: str = ""


class Change(enum.Enum):
    """How much a new status differs from the stored one."""

    NONE = enum.auto()
    MINOR = enum.auto()
    MATERIAL = enum.auto()


def merge(
    stored: Iterable[Object], wanted: Iterable[Condition], generation: int, now: datetime
) -> list[Object]:
    """The conditions to store: a transition time moves only where the status does. Ordered by type."""
    known = {condition["type"]: condition for condition in stored}
    merged = []
    for condition in sorted(wanted, key=lambda each: each.type):
        before = known.get(condition.type)
        kept = before is not None and before["status"] == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:_MESSAGE_MAX],
                "observedGeneration": generation,
                "lastTransitionTime": before["lastTransitionTime"] if before and kept else timestamp(now),
            }
        )
    return merged


def compare(stored: Object, wanted: Object, minor: Minor = Minor()) -> Change:
    """Whether `wanted` differs from `stored`, and whether anybody waits for the difference."""
    if stored == wanted:
        return Change.NONE
    if _material(stored, minor) == _material(wanted, minor):
        return Change.MINOR
    return Change.MATERIAL


def find(holder: Object, kind: str) -> Object | None:
    """The condition of that type in an object's status."""
    for condition in holder["status"].get("conditions") or ():
        if condition["type"] == kind:
            found: Object = condition
            return found
    return None


def is_true(holder: Object, kind: str) -> bool:
    """Whether the object has that condition with status True."""
    condition = find(holder, kind)
    return condition is not None and condition["status"] == "True"


def timestamp(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as Kubernetes writes times."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """An RFC 3339 time of the API, aware."""
    return datetime.fromisoformat(text)


def _material(status: Object, minor: Minor) -> Object:
    conditions = {
        each["type"]: (each["status"], each["reason"] if _reason_matters(each) else None)
        for each in status.get("conditions") or ()
        if each["type"] not in minor.conditions
    }
    unequal = {"conditions", *minor.fields}
    others = {name: value for name, value in status.items() if name not in unequal}
    return {**others, "conditions": conditions}


def _reason_matters(condition: Object) -> bool:
    return condition["status"] == "True" and condition["type"] in _REASON_MATTERS
