"""How one run of a trainer stands, in one vocabulary for both backends, and the conditions that tell it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from dspy_operator.status.conditions import Condition
from dspy_operator.store import Object

State = Literal["Queued", "Running", "Succeeded", "Failed"]

SUBMITTED = "The backend accepted the job."
_REASONS_IF_FALSE = {
    "Complete": "NotComplete",
    "Failed": "NotFailed",
    "Reconciling": "Settled",
    "Stalled": "NotStalled",
    "Suspended": "NotSuspended",
}


@dataclass(frozen=True)
class Run:
    """One attempt as its backend shows it.

    `fields` are the status fields that name it there. `active_since` is when the backend gave it its place, which
    deadlines count from; `started_at` when the trainer began. `infrastructure`: the trainer did not fail, we did.
    """

    attempt: int
    state: State
    reason: str
    message: str
    fields: Object = field(default_factory=dict)
    active_since: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    infrastructure: bool = False

    @property
    def is_over(self) -> bool:
        """Whether it ended, well or not."""
        return self.state in ("Succeeded", "Failed")


def conditions(kind: str, reason: str, message: str, *, submitted: bool) -> tuple[Condition, ...]:
    """All conditions of a job: `kind` is the one true of Complete, Failed, Reconciling, Stalled and Suspended."""
    told = [
        Condition(each, "True", reason, message) if each == kind else Condition(each, "False", if_false)
        for each, if_false in _REASONS_IF_FALSE.items()
    ]
    if submitted:
        return (*told, Condition("Submitted", "True", "Accepted", SUBMITTED))
    return (*told, Condition("Submitted", "False", "NotSubmitted"))


def again(run: Run, why: str) -> Run:
    """The same attempt, begun a second time by its backend: over for us, since it did not resume.

    Where it came to its end before anybody saw that, what it has done is done: it counts, and says how it was.
    """
    if run.state == "Succeeded":
        return replace(run, message=f"{run.message} {why}: this is what began again from the start.")
    message = f"{why}, which begins the trainer again without a checkpoint: the run is ended."
    return Run(run.attempt, "Failed", "RestartedByBackend", message, run.fields, infrastructure=True)
