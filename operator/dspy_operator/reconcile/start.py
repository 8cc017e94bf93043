"""Creating a pod under its deterministic name, and remembering those that were lost."""

from __future__ import annotations

from dspy_operator import names
from dspy_operator.errors import AlreadyExistsError, ForbiddenError, InvalidError, NotFoundError, StalledError
from dspy_operator.reconcile.context import Context
from dspy_operator.status import pods
from dspy_operator.store import PODS, Loss, Object, owner_key, owner_of

_REFUSED_RETRY_S = 30.0
_NAME_TAKEN_RETRY_S = 15.0
_PAUSE_CAP_S = 60.0


async def create_pod(ctx: Context, owner: Object, manifest: Object) -> Object:
    """Creates the pod, or finds that an earlier pass did. Raises StalledError in the apiserver's own words."""
    metadata = manifest["metadata"]
    try:
        created = await ctx.cluster.create_pod(manifest)
    except AlreadyExistsError:
        created = await ctx.cluster.get_pod(metadata["namespace"], metadata["name"])
        reference = owner_of(created)
        if reference is None or reference["uid"] != owner["metadata"]["uid"]:
            taken = (
                f"A pod named {metadata['name']} belongs to something else: delete it, or rename this object."
            )
            raise StalledError("PodNameTaken", taken, _NAME_TAKEN_RETRY_S) from None
    except (ForbiddenError, InvalidError) as error:
        # A quota, Pod Security or an admission rule: no event tells when it changes, so look again now and then.
        raise StalledError(
            "PodRefused", f"The apiserver refused the pod: {error.message}", _REFUSED_RETRY_S
        ) from error
    ctx.store.put(PODS, created)
    return created


async def find_pod(ctx: Context, task: Object, attempt: int) -> Object | None:
    """Asks the apiserver for an attempt's pod that no watch has shown, neither coming nor going.

    After a restart a task may be listed before its pods: taking one of them for lost would start the command again.
    """
    metadata = task["metadata"]
    lost = ctx.store.losses.get(metadata["uid"])
    if lost is not None and lost.attempt >= attempt:
        return None
    try:
        pod = await ctx.cluster.get_pod(metadata["namespace"], names.task_pod(metadata["name"], attempt))
    except NotFoundError:
        return None
    owner = owner_of(pod)
    if owner is None or owner["uid"] != metadata["uid"]:
        return None
    ctx.store.put(PODS, pod)
    return pod


def note_loss(ctx: Context, pod: Object) -> None:
    """Remembers that an owner's pod is gone. Called for every deletion that a watch shows."""
    key, owner = owner_key(pod), owner_of(pod)
    living = ctx.store.get(key) if key is not None else None
    if owner is None or living is None or living["metadata"]["uid"] != owner["uid"]:
        return
    attempt, known = pods.attempt_of(pod), ctx.store.losses.get(owner["uid"])
    # Where we gave the pod up ourselves, why we did says more than that it was deleted.
    reason = known.reason if known is not None and known.attempt == attempt else _why_gone(pod)
    may_have_run = pods.may_have_run(pod, names.CONTAINER_TASK)
    ctx.store.losses[owner["uid"]] = Loss(attempt, reason, ctx.now().timestamp(), may_have_run)


def _why_gone(pod: Object) -> str:
    reason = pods.loss(pod) if pods.phase(pod) == "Failed" else "it was deleted"
    trouble = pods.trouble(pod)
    return reason if trouble is None else f"{reason}; container {trouble.container}: {trouble.message}"


def lost_pods(ctx: Context, owner: Object) -> Loss | None:
    """The latest loss of a started object.

    A pod that went while no operator looked leaves no trace of its number: it counts as the first. The limit on lost
    pods then begins anew, which takes one death of the operator per round. Keeping the number would need a field in
    the status that the CRD does not have.
    """
    known = ctx.store.losses.get(owner["metadata"]["uid"])
    if known is None and "podName" in owner["status"]:
        return Loss(1, "it was deleted", 0.0)
    return known


def pause_s(ctx: Context, lost: Loss | None) -> float:
    """Seconds to wait before the next pod: none after the first loss, then doubling."""
    if lost is None or lost.attempt < 2:
        return 0.0
    pause = min(_PAUSE_CAP_S, 2.0 ** (lost.attempt - 2))
    return max(0.0, lost.at_s + pause - ctx.now().timestamp())
