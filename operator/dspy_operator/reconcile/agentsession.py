"""AgentSession: one pod, warm from a pool or started cold, replaced when lost, until the agent reports its end."""

from __future__ import annotations

from dataclasses import replace

from dspy_operator import names
from dspy_operator.desired.session_pod import session_pod
from dspy_operator.errors import NotBindableError, NoWarmPodError, StalledError
from dspy_operator.names import Key
from dspy_operator.reconcile import references, unsupported, warm
from dspy_operator.reconcile.context import Context, earliest, expire, write_status
from dspy_operator.reconcile.start import create_pod, find_pod, lost_pods, pause_s
from dspy_operator.status import pods
from dspy_operator.status.conditions import is_true, merge, parse_time
from dspy_operator.status.session import (
    MAX_LOST_PODS,
    finish_of,
    forgive,
    losses,
    observe,
    without_warm_pod,
)
from dspy_operator.status.session_fields import status_fields
from dspy_operator.status.session_view import (
    NOT_SUSPENDED,
    Finish,
    View,
    finished,
    stalled,
    suspended,
    waiting,
)
from dspy_operator.store import Object, claimed_from, key_of, pool_of

_POOL_RETRY_S = 60.0


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One pass. Returns after how many seconds time alone would change something."""
    session = ctx.store.get(key)
    if session is None or session["metadata"].get("deletionTimestamp"):
        await _wait_no_longer(ctx, key)
        return None
    if is_true(session, "Finished"):
        await _wait_no_longer(ctx, key)
        return await _after_the_end(ctx, session)
    pod = _pod_of(ctx, session) or await _unseen_pod(ctx, session)
    try:
        seen = await _advance(ctx, session, pod)
    except StalledError as error:
        seen = stalled(error, pod)
    if seen.waits_for_pool:
        ctx.claims.wait(key, pool_of(session), ctx.now())
    else:
        await _wait_no_longer(ctx, key)
    write_again_s = await _write(ctx, session, seen)
    return earliest(seen.look_again_s, write_again_s, _shutdown_in_s(ctx, session))


async def _advance(ctx: Context, session: Object, pod: Object | None) -> View:
    finish = None if pod is None else finish_of(session, pod)
    if finish is not None:
        return finished(session, finish, pod)
    left_s = _shutdown_in_s(ctx, session)
    if left_s is not None and left_s <= 0:
        outcome = "Unsolved" if "task" in session["spec"] else None
        ended = Finish("ShutdownTimeReached", "spec.lifecycle.shutdownTime has passed.", outcome)
        return finished(session, ended, pod)
    unsupported.check_session(session)
    if session["spec"].get("operatingMode") == "Suspended":
        return await _suspend(ctx, session, pod)
    if pod is not None and pods.is_over(pod) and not pods.is_deleting(pod):
        # Not the agent's doing (that would be a finish): the pod is no use any more, and its name is needed.
        await ctx.cluster.delete_pod(pod)
        return waiting("PodLost", f"The session's pod was lost: {pods.loss(pod)}", None)
    if pod is not None:
        await _delete_others(ctx, session, pod)
        return forgive(session, pod, await warm.look(ctx, session, pod), ctx.now())
    return await _start(ctx, session)


async def _suspend(ctx: Context, session: Object, pod: Object | None) -> View:
    for each in ctx.store.pods_of(session["metadata"]["uid"]):
        if not pods.is_deleting(each):
            await ctx.cluster.delete_pod(each)
    return suspended(session, pod)


async def _start(ctx: Context, session: Object) -> View:
    lost = lost_pods(ctx, session)
    times = 0 if lost is None else losses(session, lost.attempt)
    if lost is not None and times > MAX_LOST_PODS:
        message = f"The session's pod was lost {times} times, last: {lost.reason}"
        return finished(session, Finish("InfraError", message, "Error"), None)
    wait_s = pause_s(ctx, lost, times)
    if lost is not None and wait_s > 0:
        return waiting("PodLost", f"The session's pod was lost: {lost.reason}", wait_s)
    pool = _pool(ctx, session)
    attempt = 1 if lost is None else lost.attempt + 1
    if pool is None or session["spec"].get("pooling") == "Never":
        return await _start_cold(ctx, session, pool, attempt)
    return await _start_from(ctx, session, pool, attempt)


async def _start_from(ctx: Context, session: Object, pool: Object, attempt: int) -> View:
    """In a warm pod of the pool; without one, as spec.pooling says."""
    only_warm = session["spec"].get("pooling") == "Require"
    try:
        return await warm.take(ctx, session, pool, attempt)
    except NotBindableError as error:
        if only_warm:
            said = f"No warm pod can take this session, which spec.pooling requires: {error}"
            raise StalledError("NotBindable", said, _POOL_RETRY_S) from error
        return await _start_cold(ctx, session, pool, attempt, str(error))
    except NoWarmPodError as error:
        if only_warm:
            since = ctx.claims.waits_since(key_of(names.AGENT_SESSIONS, session))
            seen = without_warm_pod(session, pool, str(error), since, ctx.now())
            return replace(seen, look_again_s=earliest(seen.look_again_s, error.retry_s))
        return await _start_cold(ctx, session, pool, attempt, str(error))


async def _start_cold(
    ctx: Context, session: Object, pool: Object | None, attempt: int, why: str = ""
) -> View:
    await references.check(ctx, session["metadata"]["namespace"], session["spec"])
    template = (session if pool is None else pool)["spec"].get("template", {})
    master = ctx.settings.reddb_token()
    manifest = session_pod(session, template, ctx.settings, master, attempt, launch_reason=why)
    return observe(session, await create_pod(ctx, session, manifest), ctx.now())


async def _wait_no_longer(ctx: Context, key: Key) -> None:
    """Leaves the queue for warm pods. The pool then sees whose turn it is: the pod may not have been taken."""
    pool = ctx.claims.leave(key)
    if pool is not None:
        await ctx.wake(pool)


async def _after_the_end(ctx: Context, session: Object) -> float | None:
    for pod in ctx.store.pods_of(session["metadata"]["uid"]):
        if not _ends_by_itself(pod):
            await ctx.cluster.delete_pod(pod)
    ttl_s = session["spec"].get("lifecycle", {}).get("ttlSecondsAfterFinished")
    return await expire(ctx, names.AGENT_SESSIONS, session, session["status"]["finishTime"], ttl_s)


def _ends_by_itself(pod: Object) -> bool:
    """Whether nothing need be done: the kubelet stops the sidecar after the agent. The pod stays for its logs."""
    agent = pods.ended(pod, names.CONTAINER_AGENT)
    over = pods.is_over(pod) or pods.is_deleting(pod)
    return over or (agent is not None and agent.exit_code == 0)


async def _write(ctx: Context, session: Object, seen: View) -> float | None:
    status = status_fields(session, seen, ctx.now())
    stored = session["status"].get("conditions") or ()
    wanted = seen.conditions if seen.phase == "Suspended" else (*seen.conditions, NOT_SUSPENDED)
    status["conditions"] = merge(stored, wanted, session["metadata"]["generation"], ctx.now())
    again_s = await write_status(ctx, names.AGENT_SESSIONS, session, status)
    if seen.finish is None:
        return again_s
    current = ctx.store.get(
        Key(names.AGENT_SESSIONS, session["metadata"]["namespace"], session["metadata"]["name"])
    )
    return earliest(again_s, await _after_the_end(ctx, current)) if current is not None else again_s


def _pool(ctx: Context, session: Object) -> Object | None:
    """The pool that the session names, if it names one."""
    key = pool_of(session)
    if key is None:
        return None
    pool = ctx.store.get(key)
    if pool is None:
        message = (
            f"AgentPool {key.name} does not exist in namespace {key.namespace}: create it, or create the "
            "session again without spec.poolRef."
        )
        raise StalledError("PoolNotFound", message, _POOL_RETRY_S)
    return pool


def _pod_of(ctx: Context, session: Object) -> Object | None:
    """The session's pod: the one that its status names, else the oldest.

    A claimed one that goes before the status ever told of it was given up: its agent never had the session.
    """
    named, attempts = session["status"].get("podName"), session["status"].get("attempts", 0)

    def may_have_it(pod: Object) -> bool:
        told = claimed_from(pod) is None or pods.attempt_of(pod) <= attempts
        return (told and not ctx.claims.is_given_up(pod["metadata"]["uid"])) or not pods.is_deleting(pod)

    found = [pod for pod in ctx.store.pods_of(session["metadata"]["uid"]) if may_have_it(pod)]
    return min(
        found,
        key=lambda pod: (pod["metadata"]["name"] != named, pods.created_at(pod), pod["metadata"]["name"]),
        default=None,
    )


async def _delete_others(ctx: Context, session: Object, kept: Object) -> None:
    """Two replicas that both took themselves for the leader may each have claimed a pod: one is enough."""
    for pod in ctx.store.pods_of(session["metadata"]["uid"]):
        if pod["metadata"]["uid"] != kept["metadata"]["uid"] and not pods.is_deleting(pod):
            await ctx.cluster.delete_pod(pod)


async def _unseen_pod(ctx: Context, session: Object) -> Object | None:
    """The pod that the status names, where the operator was restarted and the watch has not shown it yet."""
    status = session["status"]
    if "podName" not in status:
        return None
    return await find_pod(ctx, session, status["podName"], status.get("attempts", 1))


def _shutdown_in_s(ctx: Context, session: Object) -> float | None:
    at = session["spec"].get("lifecycle", {}).get("shutdownTime")
    return None if at is None else (parse_time(at) - ctx.now()).total_seconds()
