"""TrainingJob on Slurm: one task of the orchestrator per attempt, and a finalizer until the last one is cancelled."""

from __future__ import annotations

from dspy_operator import errors, names
from dspy_operator.desired.rayjob import DEADLINE_SLACK_S
from dspy_operator.desired.slurm_task import slurm_task
from dspy_operator.errors import StalledError
from dspy_operator.reconcile.context import Context, TaskQueue, tell
from dspy_operator.reconcile.training_end import may_resume
from dspy_operator.status import training_slurm
from dspy_operator.status.conditions import parse_time
from dspy_operator.status.training import Run
from dspy_operator.store import Object

_RETRY_S = 15.0
_CANCEL_RETRY_S = 2.0
# A token that is no longer good, or another task under the same key: an earlier submission may still stand.
_SAYS_NOTHING_OF_THE_TASK = frozenset({401, 403, 409})
_OVER = frozenset({"Succeeded", "Failed", "Cancelled", "Dead"})


async def prepare(ctx: Context, job: Object, attempt: int) -> bool:
    """Refuses what no task can do. The id of a task is known only once its submission was answered."""
    slurm_task(job, attempt, None)
    _queue(ctx)
    await _hold(ctx, job)
    return True


async def start(
    ctx: Context, job: Object, attempt: int, _checkpoint: Object | None, _left_s: int | None
) -> Run:
    """Submits the task as it was announced. Sent again for the same attempt, it is the same task."""
    try:
        task_id = await _queue(ctx).submit(_announced(job))
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
    task_id = _task_id(job) or await _ask_again(ctx, job)
    task = None if task_id is None else await _queue(ctx).cancel(task_id)
    return task is None or task["state"] in _OVER


async def log(ctx: Context, job: Object) -> tuple[str, str]:
    """What the trainer printed after the position in the status, and the position after that."""
    task_id, position = _task_id(job), job["status"].get("logPosition", "")
    return ("", position) if task_id is None else await _queue(ctx).log(task_id, position)


async def release(ctx: Context, job: Object) -> float | None:
    """A deleted TrainingJob: cancels its job, then lets the object go; without Slurm's answer after a bounded time."""
    if names.FINALIZER_SLURM not in (job["metadata"].get("finalizers") or []):
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
    await let_go(ctx, job)
    return None


async def let_go(ctx: Context, job: Object) -> None:
    """Nothing runs any more: the object may go, even where neither we nor the orchestrator are left."""
    kept = job["metadata"].get("finalizers") or []
    if names.FINALIZER_SLURM in kept:
        without = [each for each in kept if each != names.FINALIZER_SLURM]
        stored = await ctx.cluster.set_finalizers(names.TRAINING_JOBS, job, without)
        if not job["metadata"].get("deletionTimestamp"):  # else it is gone by now
            ctx.store.put(names.TRAINING_JOBS, stored)


async def _hold(ctx: Context, job: Object) -> None:
    kept = job["metadata"].get("finalizers") or []
    if names.FINALIZER_SLURM not in kept:
        held = [*kept, names.FINALIZER_SLURM]
        stored = await ctx.cluster.set_finalizers(names.TRAINING_JOBS, job, held)
        ctx.store.put(names.TRAINING_JOBS, stored)


async def _ask_again(ctx: Context, job: Object) -> str | None:
    """The id of a task that may have been submitted without an answer; None where none was ever accepted."""
    if job["status"].get("jobState") != "Submitting":
        return None
    try:
        return await _queue(ctx).submit(_announced(job))
    except errors.ServiceRefusedError as error:
        if error.status in _SAYS_NOTHING_OF_THE_TASK:
            raise
        return None


def _announced(job: Object) -> Object:
    """The task of the attempt in the status, the same whatever was edited since it was announced."""
    status, spec = job["status"], {name: value for name, value in job["spec"].items() if name != "budget"}
    submission = status["submission"]
    if "budget" in submission:
        spec["budget"] = submission["budget"]
    checkpoint = status.get("checkpoint") if may_resume(job) else None
    task = slurm_task({**job, "spec": spec}, status["attempts"], checkpoint)
    if "leftSeconds" in submission:
        deadline_ms = (submission["leftSeconds"] + DEADLINE_SLACK_S) * 1000
        task["timeout_ms"] = min(task["timeout_ms"], deadline_ms)
    return task


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
