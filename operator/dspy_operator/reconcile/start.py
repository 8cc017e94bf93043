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


async def find_pod(ctx: Context, seen: Object, name: str, attempt: int) -> Object | None:
    """Asks the apiserver for an object's pod that no watch has shown, neither coming nor going.

    After a restart an object may be listed before its pods: taking one of them for lost would start a command again, or
    stall a session that works for the lack of something that only its start needed.
    """
    metadata = seen["metadata"]
    lost = ctx.store.losses.get(metadata["uid"])
    if lost is not None and lost.attempt >= attempt:
        return None
    try:
        pod = await ctx.cluster.get_pod(metadata["namespace"], name)
    except NotFoundError:
        return None
    owner = owner_of(pod)
    if owner is None or owner["uid"] != metadata["uid"]:
        return None
    ctx.store.put(PODS, pod)
    return pod


def note_loss(ctx: Context, pod: Object) -> None:
    """Remembers that an owner's pod is gone. Called for every deletion that a watch shows."""
    if ctx.claims.is_given_up(pod["metadata"]["uid"]):
        return
    key, owner = owner_key(pod), owner_of(pod)
    living = ctx.store.get(key) if key is not None else None
    if owner is None or living is None or living["metadata"]["uid"] != owner["uid"]:
        return
    if living["spec"].get("completions", 1) > 1:
        _note_lost_run(ctx, pod, owner["uid"])
        return
    attempt, known = pods.attempt_of(pod), ctx.store.losses.get(owner["uid"])
    # Where we gave the pod up ourselves, why we did says more than that it was deleted.
    reason = known.reason if known is not None and known.attempt == attempt else _why_gone(pod)
    ctx.store.losses[owner["uid"]] = Loss(attempt, reason, ctx.now().timestamp(), _may_have_run(pod))


def _note_lost_run(ctx: Context, pod: Object, owner_uid: str) -> None:
    losses, attempt = ctx.store.run_losses[owner_uid], pods.attempt_of(pod)
    known = losses.get((pods.index_of(pod), attempt))
    reason = known.reason if known is not None else _why_gone(pod)
    loss = Loss(attempt, reason, ctx.now().timestamp(), _may_have_run(pod))
    losses[pods.index_of(pod), attempt] = loss


def _may_have_run(pod: Object) -> bool:
    """A pod that was removed by force went without its kubelet's word: what its status said last may be old."""
    unconfirmed = pods.is_bound(pod) and not pods.is_over(pod)
    return unconfirmed or pods.may_have_run(pod, names.CONTAINER_TASK)


def _why_gone(pod: Object) -> str:
    reason = pods.loss(pod) if pods.phase(pod) == "Failed" else "it was deleted"
    trouble = pods.trouble(pod)
    return reason if trouble is None else f"{reason}; container {trouble.container}: {trouble.message}"


def lost_pods(ctx: Context, owner: Object) -> Loss | None:
    """The latest loss of a started object. Of a pod that went while no operator looked, the status has the number."""
    status, losses = owner["status"], ctx.store.losses
    if "podName" in status:
        gone = Loss(status.get("attempts", 1), "it was deleted while no operator looked", 0.0)
        return losses.setdefault(owner["metadata"]["uid"], gone)
    if "attempts" in status:
        given_back = Loss(status["attempts"], "it was given back by a suspension", 0.0)
        return losses.setdefault(owner["metadata"]["uid"], given_back)
    return losses.get(owner["metadata"]["uid"])


def pause_s(ctx: Context, lost: Loss | None, times: int) -> float:
    """Seconds to wait before the next pod: none after the first loss, then doubling with each of the `times`."""
    if lost is None or times < 2:
        return 0.0
    pause = min(_PAUSE_CAP_S, 2.0 ** (times - 2))
    return max(0.0, lost.at_s + pause - ctx.now().timestamp())
