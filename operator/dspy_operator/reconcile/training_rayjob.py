"""TrainingJob on Ray: one RayJob per attempt, under the TrainingJob's name."""

from __future__ import annotations

from dspy_operator import errors
from dspy_operator.desired.rayjob import rayjob
from dspy_operator.errors import NotYetError, StalledError
from dspy_operator.reconcile import references
from dspy_operator.reconcile.context import Context
from dspy_operator.status import training_rayjob
from dspy_operator.status.training import Run
from dspy_operator.store import Object

_RETRY_S = 15.0
_GOING_S = 1.0
_NOT_INSTALLED = (
    "This cluster has no RayJobs (ray.io/v1): install the KubeRay operator with its CRDs, "
    "and this goes on by itself."
)


async def prepare(_ctx: Context, _job: Object, _attempt: int) -> bool:
    """A RayJob is found by its name."""
    return False


async def start(
    ctx: Context, job: Object, attempt: int, checkpoint: Object | None, left_s: int | None
) -> Run:
    """Creates the RayJob. Raises StalledError where the cluster has no KubeRay, or refuses."""
    await references.check(ctx, job["metadata"]["namespace"], job["spec"])
    manifest = rayjob(job, ctx.settings, attempt, checkpoint, left_s)
    try:
        made = await ctx.cluster.create_ray_job(manifest)
    except errors.NotFoundError as error:
        raise StalledError("KubeRayNotInstalled", _NOT_INSTALLED, _RETRY_S) from error
    except errors.AlreadyExistsError as error:
        raise await _taken(ctx, job) from error
    except (errors.ForbiddenError, errors.InvalidError) as error:
        refused = f"The apiserver refused the RayJob: {error.message}"
        raise StalledError("RayJobRefused", refused, _RETRY_S) from error
    return training_rayjob.judge(job, made)


async def look(ctx: Context, job: Object) -> Run | None:
    """The run that the RayJob of this name makes, if it is ours."""
    found = await _ours(ctx, job)
    return None if found is None else training_rayjob.judge(job, found)


async def stop(ctx: Context, job: Object) -> bool:
    """Deletes the RayJob. True once nothing of it is left: KubeRay keeps it until its cluster is gone."""
    found = await _ours(ctx, job)
    if found is None:
        return True
    if not found["metadata"].get("deletionTimestamp"):
        await ctx.cluster.delete_ray_job(found)
    return False


async def log(ctx: Context, job: Object) -> tuple[str, str]:
    """The last lines that the trainer printed; none where Ray's dashboard is not there. A tail has no position."""
    found = await _ours(ctx, job)
    status = (found or {}).get("status") or {}
    if ctx.ray_logs is None or not status.get("dashboardURL") or not status.get("jobId"):
        return "", ""
    return await ctx.ray_logs.tail(status["dashboardURL"], status["jobId"]), ""


async def _taken(ctx: Context, job: Object) -> errors.OperatorError:
    """What to say of another RayJob under the name: that of a TrainingJob that was deleted just now is going."""
    metadata = job["metadata"]
    found = await ctx.cluster.get_ray_job(metadata["namespace"], metadata["name"])
    if found is None or found["metadata"].get("deletionTimestamp"):
        going = "The RayJob of a former TrainingJob of this name is being deleted."
        return NotYetError("WaitingForDeletion", going, _GOING_S)
    taken = f"A RayJob named {metadata['name']} belongs to something else: delete it, or rename this object."
    return StalledError("RayJobNameTaken", taken, _RETRY_S)


async def _ours(ctx: Context, job: Object) -> Object | None:
    metadata = job["metadata"]
    found = await ctx.cluster.get_ray_job(metadata["namespace"], metadata["name"])
    owners = (found or {}).get("metadata", {}).get("ownerReferences") or ()
    return found if any(owner["uid"] == metadata["uid"] for owner in owners) else None
