"""The stages of a task with many runs, each as the conditions that hold in it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from dspy_operator.errors import StalledError
from dspy_operator.status.batch import Standing
from dspy_operator.status.conditions import Condition, timestamp
from dspy_operator.status.envtask_fields import conditions
from dspy_operator.status.ledger import Ledger
from dspy_operator.store import Object

_MESSAGE_MAX = 4096


@dataclass(frozen=True)
class View:
    """What the task's status should say beside its ledger."""

    phase: str
    conditions: tuple[Condition, ...]
    look_again_s: float | None = None
    fields: Object = field(default_factory=dict)


def underway(task: Object, ledger: Ledger, standing: Standing, look_again_s: float | None) -> View:
    """With runs at work, or waiting for room."""
    waits = standing.waits_for
    if waits is not None and waits.phase != "Running":
        return View("Pending", conditions("Reconciling", waits.reason, waits.message), look_again_s)
    if task["spec"].get("parallelism", 1) == 0 and not standing.active:
        message = "spec.parallelism is 0, so nothing is started: raise it."
        return View("Pending", conditions("Reconciling", "ParallelismIsZero", message))
    phase = "Running" if standing.active else "Pending"
    message = f"{ledger.completions} runs are being made."
    return View(phase, conditions("Reconciling", "Running", message), look_again_s)


def suspended(standing: Standing) -> View:
    """At the user's wish; what ran is given back."""
    message = "spec.suspend is true: runs that were under way start again when it is false."
    reason = "Suspended" if not standing.active else "Suspending"
    return View("Suspended", conditions("Suspended", reason, message))


def stalled(error: StalledError, standing: Standing) -> View:
    """Unable to start more. With runs at work it is only slower than it might be."""
    if standing.active:
        shown = conditions("Reconciling", error.reason, error.message)
        return View("Running", shown, error.retry_s)
    return View("Stalled", conditions("Stalled", error.reason, error.message), error.retry_s)


def ended(task: Object, ledger: Ledger, standing: Standing, now: datetime) -> View:
    """At its end."""
    kind, reason, message = _end(task, ledger, standing)
    phase = "Succeeded" if kind == "Complete" else "Failed"
    fields: Object = {"reason": reason, "message": message[:_MESSAGE_MAX], "completionTime": timestamp(now)}
    fields |= {"active": 0, "pending": 0}  # what still runs is stopped, and nothing more is started
    return View(phase, conditions(kind, reason, message), fields=fields)


def _end(task: Object, ledger: Ledger, standing: Standing) -> tuple[str, str, str]:
    if standing.fatal is not None:
        return "Failed", standing.fatal.reason, standing.fatal.message
    if ledger.concluded and not ledger.failed:
        return "Complete", "Completed", f"All {ledger.completions} runs succeeded."
    return "Failed", "RunsFailed", _failure(task, ledger)


def _failure(task: Object, ledger: Ledger) -> str:
    said = f"{len(ledger.failed)} of {ledger.completions} runs failed for good"
    if not ledger.concluded:
        said += f", more than spec.maxFailedIndexes ({task['spec']['maxFailedIndexes']}) allows"
    if not ledger.recent:
        return said + "."
    last = ledger.recent[-1]
    return f"{said}; the last one was run {last['index']}: {last['reason']}: {last['message']}"
