"""How an attempt at an EnvTask stands: still under way, or ended, and then whose success or failure it was."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from dspy_operator.reports import RunnerReport


class Kind(enum.Enum):
    """Whose success or failure an attempt was, which decides whether the command may run again."""

    SUCCEEDED = enum.auto()
    COMMAND = enum.auto()  # the command failed: run again within spec.backoffLimit
    INTERRUPTED = enum.auto()  # we failed, and the command may have had effects: within spec.backoffLimit too
    NOT_STARTED = enum.auto()  # we failed before the command began: tried again apart from spec.backoffLimit
    FATAL = enum.auto()  # the spec cannot work: never tried again


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `report` is the runner's, where it could be read."""

    kind: Kind
    reason: str
    message: str
    report: RunnerReport | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    """An attempt under way: what it waits for, and when time alone would end it."""

    phase: str
    reason: str
    message: str
    look_again_s: float | None


def ours(message: str, *, may_have_run: bool, at: datetime | None = None) -> Outcome:
    """A failure that is not the command's. Only one before the command began may be repeated without being asked to."""
    kind = Kind.INTERRUPTED if may_have_run else Kind.NOT_STARTED
    return Outcome(kind, "InfraError", message, None, at)
