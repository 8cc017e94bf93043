"""TrainingJob on Slurm: one task of the orchestrator per attempt, and a finalizer until the last one is cancelled."""

from __future__ import annotations

from dspy_operator import errors, names
from dspy_operator.desired.slurm_task import slurm_task
from dspy_operator.errors import StalledError
from dspy_operator.reconcile.context import Context, TaskQueue, tell
from dspy_operator.status import training_slurm
from dspy_operator.status.conditions import parse_time
from dspy_operator.status.training import Run
from dspy_operator.store import Object

_RETRY_S = 15.0
_CANCEL_RETRY_S = 2.0
_OVER = frozenset({"Succeeded", "Failed", "Cancelled", "Dead"})


async def start(
    ctx: Context, job: Object, attempt: int, checkpoint: Object | None, left_s: int | None
) -> Run:
    """Submits the task. Sent again for the same attempt, it is the same task."""
    task = slurm_task(job, attempt, checkpoint)
    if left_s is not None:
        task["timeout_ms"] = min(task["timeout_ms"], max(1, left_s) * 1000)
    queue = _queue(ctx)
    await _hold(ctx, job)
    try:
        task_id = await queue.submit(task)
    except errors.ServiceRefusedError as error:
        refused = f"The orchestrator refused the job: {error}"
        raise StalledError("JobRefused", refused, _RETRY_S) from error
    queued = {"id": task_id, "state": "Queued"}
    return training_slurm.judge({**job, "status": {"attempts": attempt}}, queued)


async def look(ctx: Context, job: Object) -> Run | None:
    """The run that the attempt's task makes, if the orchestrator still knows it."""
    task_id = _task_id(job)
    task = None if task_id is None else await _queue(ctx).get(task_id)
    return None if task is None else training_slurm.judge(job, task)


async def stop(ctx: Context, job: Object) -> bool:
    """Cancels the task. True once it has ended, and its job with it."""
    task_id = _task_id(job)
    task = None if task_id is None else await _queue(ctx).cancel(task_id)
    return task is None or task["state"] in _OVER


async def log(ctx: Context, job: Object) -> tuple[str, str]:
    """What the trainer printed after the position in the status, and the position after that."""
    task_id, position = _task_id(job), job["status"].get("logPosition", "")
    return ("", position) if task_id is None else await _queue(ctx).log(task_id, position)


async def release(ctx: Context, job: Object) -> float | None:
    """A deleted TrainingJob: cancels its job, then lets the object go; without Slurm's answer after a bounded time."""
    kept = job["metadata"].get("finalizers") or []
    if names.FINALIZER_SLURM not in kept:
        return None
    try:
        cancelled, trouble = await stop(ctx, job), "Slurm has not ended it"
    except (errors.ServiceError, StalledError) as error:
        cancelled, trouble = False, str(error)
    waited_s = (ctx.now() - parse_time(job["metadata"]["deletionTimestamp"])).total_seconds()
    if not cancelled and waited_s < ctx.settings.slurm_give_up_seconds:
        return _CANCEL_RETRY_S
    if not cancelled:
        number = job["status"].get("slurmJobId", "of this TrainingJob")
        message = f"Slurm job {number} could not be cancelled ({trouble}): cancel it in Slurm by hand."
        await tell(ctx, names.TRAINING_JOBS, job, "SlurmJobAbandoned", message)
    without = [each for each in kept if each != names.FINALIZER_SLURM]
    await ctx.cluster.set_finalizers(names.TRAINING_JOBS, job, without)
    return None


async def _hold(ctx: Context, job: Object) -> None:
    kept = job["metadata"].get("finalizers") or []
    if names.FINALIZER_SLURM not in kept:
        held = [*kept, names.FINALIZER_SLURM]
        stored = await ctx.cluster.set_finalizers(names.TRAINING_JOBS, job, held)
        ctx.store.put(names.TRAINING_JOBS, stored)


def _queue(ctx: Context) -> TaskQueue:
    if ctx.task_queue is None:
        raise StalledError(
            "OrchestratorNotConfigured",
            "Training on Slurm goes through the orchestrator, and this operator was started without one: set "
            "orchestrator_url and orchestrator_token_file.",
        )
    return ctx.task_queue


def _task_id(job: Object) -> str | None:
    reference = job["status"].get("backendRef") or {}
    return reference["name"] if reference.get("kind") == training_slurm.KIND else None
