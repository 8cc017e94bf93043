"""What the end of a run means for its TrainingJob: whether another one may follow, and from where."""

from __future__ import annotations

from dspy_operator.reconcile.context import Context
from dspy_operator.status.conditions import timestamp
from dspy_operator.status.training import Run
from dspy_operator.store import Object

# Runs that the backend lost. Each was resumed at a checkpoint; a cluster that loses so many is no place to train.
MAX_LOST = 10


def may_resume(job: Object) -> bool:
    """Whether a next run begins at the newest checkpoint."""
    return bool(job["spec"].get("checkpoint", {}).get("resume", "Auto") == "Auto")


def ended(ctx: Context, job: Object, run: Run) -> Object:
    """Status fields of a run that ended, its time included. Nothing where the status has them."""
    if "completionTime" in job["status"]:
        return {}
    at = run.ended_at or ctx.now()
    fields: Object = {"completionTime": timestamp(at)}
    if run.started_at is not None:
        fields["startTime"] = timestamp(run.started_at)
    if run.active_since is not None:
        used_s = max(0, int((at - run.active_since).total_seconds()))
        fields["activeSeconds"] = job["status"].get("activeSeconds", 0) + used_s
    return fields


def final(job: Object, run: Run) -> tuple[str, str] | None:
    """Reason and message where that failure is the last one. `job` has the failure in its status."""
    status = job["status"]
    failures = status.get("failures", 0)
    if not run.infrastructure and failures > job["spec"].get("backoffLimit", 0):
        return run.reason, run.message
    if run.infrastructure and run.attempt - failures > MAX_LOST:
        return run.reason, f"{run.message} (so ended {run.attempt - failures} runs)"
    refused = after_failure(job)
    return None if refused is None else (refused[0], f"{run.reason}: {run.message} {refused[1]}")


def after_failure(job: Object) -> tuple[str, str] | None:
    """Reason and message where no next run may begin: the last one began, and left nothing to resume from."""
    status = job["status"]
    began = "startTime" in status
    if not began or "checkpoint" in status or not may_resume(job):
        return None
    return (
        "NoCheckpoint",
        "The trainer had announced no checkpoint to resume from. Set spec.checkpoint.resume to Never in a new "
        "TrainingJob where it may begin anew.",
    )
