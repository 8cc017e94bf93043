"""A session in a warm pod: claimed by one patch, bound by one request.

Whatever ends between two of these steps, the next pass sees how far it came: a pod that bears the session's name is
claimed, binding again is harmless, and the status follows.
"""

from __future__ import annotations

import hashlib
import logging

from dspy_operator import errors, names
from dspy_operator.desired.session_pod import AGENT_PORT
from dspy_operator.desired.warm_pod import bind_token, claim
from dspy_operator.errors import NotBindableError, NoWarmPodError
from dspy_operator.names import Key
from dspy_operator.reconcile import binding
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.pauses import Pause, Reach
from dspy_operator.reconcile.template import current_hash
from dspy_operator.status import pods
from dspy_operator.status.conditions import is_true
from dspy_operator.status.pool import is_free, ready_since
from dspy_operator.status.session import observe
from dspy_operator.status.session_view import View, ready, starting, waiting
from dspy_operator.store import PODS, Object, claimed_from, key_of

logger = logging.getLogger(__name__)

_MOST_TRIES = 8  # pods per pass: each of them was ready a moment ago
_WAIT_S = 1  # a worker's time: what prepares for longer is asked again
_MOST_SILENCES = 5
_INVALID = (413, 422)


async def take(ctx: Context, session: Object, pool: Object, attempt: int) -> View:
    """The session in a warm pod of that pool. Raises NotBindableError, NoWarmPodError, StalledError."""
    agents = ctx.pauses.setdefault(key_of(names.AGENT_POOLS, pool), Pause()).agents
    _check_turn(ctx, session, pool, agents)
    body = await binding.request(ctx, session)
    _check_refusal(ctx, session, body)
    for _ in range(_MOST_TRIES):
        _check_turn(ctx, session, pool, agents)
        agents.try_one(ctx.now())
        pod = await _claim(ctx, session, pool, attempt)
        if pod is None:
            break
        await ctx.wake(key_of(names.AGENT_POOLS, pool))
        try:
            return await _bind(ctx, session, pod, body)
        except errors.AgentSilentError as error:
            # It may be at work, so it stays the session's: the next passes ask again.
            return _silent(pod, error)
        except errors.AgentError as error:
            await _give_up(ctx, session, pod, error)
            _check_refusal(ctx, session, body)
    raise _none_free(pool)


async def look(ctx: Context, session: Object, pod: Object) -> View:
    """The view of a session that has a pod. A claimed one is ready only when its agent says that it has the session."""
    seen = observe(session, pod, ctx.now())
    uid = pod["metadata"]["uid"]
    if claimed_from(pod) is None or seen.finish is not None or ctx.claims.is_bound(uid):
        return seen
    if is_true(session, "Ready") and session["status"].get("podName") == pod["metadata"]["name"]:
        ctx.claims.bound(uid)  # an earlier process heard it
        return seen
    if not seen.is_ready:
        return _preparing(pod, seen.look_again_s) if _is_unready(seen) else seen
    try:
        return await _bind(ctx, session, pod, await binding.request(ctx, session))
    except NotBindableError as error:
        raise errors.StalledError("NotBindable", str(error), 60.0) from error
    except errors.AgentRefusedError as error:
        await _give_up(ctx, session, pod, error)
        return waiting("PodLost", f"The agent of the warm pod did not take the session: {error}", None)
    except errors.AgentError as error:
        return await _unanswered(ctx, session, pod, error)


def _check_turn(ctx: Context, session: Object, pool: Object, agents: Reach) -> None:
    """Raises NoWarmPodError where no pod is given, or only to sessions that waited for longer."""
    left_s = agents.left_s(ctx.now())
    if agents.said is not None and left_s is not None:
        raise NoWarmPodError(
            f"AgentPool {pool['metadata']['name']} gives no pod now. {agents.said[1]}", left_s
        )
    count = len(_free(ctx, pool))
    turns = ctx.claims.waiting(key_of(names.AGENT_POOLS, pool), count)
    if count == 0 or (len(turns) == count and key_of(names.AGENT_SESSIONS, session) not in turns):
        raise _none_free(pool)


def _none_free(pool: Object) -> NoWarmPodError:
    return NoWarmPodError(f"AgentPool {pool['metadata']['name']} had no free warm pod.")


def _free(ctx: Context, pool: Object) -> list[Object]:
    wanted = current_hash(ctx, pool)
    every = ctx.store.pods_of(pool["metadata"]["uid"])
    return [
        pod for pod in every if is_free(pod, wanted) and not ctx.claims.is_reserved(pod["metadata"]["uid"])
    ]


async def _claim(ctx: Context, session: Object, pool: Object, attempt: int) -> Object | None:
    """The pod that was ready first and can be had, made the session's."""
    tried: set[str] = set()
    while True:
        every = (pod for pod in _free(ctx, pool) if pod["metadata"]["uid"] not in tried)
        pod = min(every, key=ready_since, default=None)
        if pod is None:
            return None
        uid = pod["metadata"]["uid"]
        tried.add(uid)
        with ctx.claims.reserved(uid):
            try:
                made = await ctx.cluster.patch_pod(pod, claim(session, pool["metadata"]["name"], attempt))
            except (errors.ConflictError, errors.NotFoundError):
                continue  # it changed since the watch told of it: another one may not have
            ctx.store.put(PODS, made)
        return made


async def _bind(ctx: Context, session: Object, pod: Object, body: bytes) -> View:
    metadata = pod["metadata"]
    token = bind_token(ctx.settings.reddb_token(), metadata["namespace"], metadata["name"])
    try:
        state = await ctx.agents.bind(pods.endpoint(pod) or "", token, body, _WAIT_S)
    except errors.AgentRefusedError as error:
        await _note_answer(ctx, pod)
        if error.status in _INVALID:
            ctx.claims.refuse(session["metadata"]["uid"], _fingerprint(body), str(error))
        raise
    await _note_answer(ctx, pod)
    if state == "Ready":
        ctx.claims.bound(metadata["uid"])
        return ready(pod)
    if state == "Finished":
        ctx.claims.bound(metadata["uid"])
        return starting(pod, "AgentFinished", "The agent has ended; its report follows.", None)
    return _preparing(pod, float(_WAIT_S))


async def _unanswered(ctx: Context, session: Object, pod: Object, error: errors.AgentError) -> View:
    """A claimed pod whose agent does not answer: asked again a few times, then given up."""
    may_have_it = _is_known(session, pod) or isinstance(error, errors.AgentSilentError)
    if may_have_it and ctx.claims.failed(pod["metadata"]["uid"]) < _MOST_SILENCES:
        return _silent(pod, error)
    await _give_up(ctx, session, pod, error)
    return waiting("PodLost", f"The warm pod was given up: {error}", 0.0)


async def _give_up(ctx: Context, session: Object, pod: Object, error: errors.AgentError) -> None:
    logger.warning("a warm pod is given up", extra={"pod": str(key_of(PODS, pod)), "error": str(error)})
    if isinstance(error, errors.AgentUnreachableError):
        said = f"The operator must be let to port {AGENT_PORT} of this namespace's pods (NetworkPolicy?): {error}."
        _reach(ctx, claimed_from(pod)).missed(said, ctx.now())
    if not _is_known(session, pod):
        ctx.claims.gave_up(pod["metadata"]["uid"])
    await ctx.cluster.delete_pod(pod)
    metadata = {**pod["metadata"], "deletionTimestamp": ctx.now().isoformat()}
    ctx.store.put(PODS, {**pod, "metadata": metadata})


def _is_known(session: Object, pod: Object) -> bool:
    return bool(session["status"].get("podName") == pod["metadata"]["name"])


def _check_refusal(ctx: Context, session: Object, body: bytes) -> None:
    """What one agent cannot take is not tried on another."""
    refusal = ctx.claims.refusal(session["metadata"]["uid"], _fingerprint(body))
    if refusal is not None:
        raise NotBindableError(f"The agent of a warm pod refused it: {refusal}")


def _fingerprint(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


async def _note_answer(ctx: Context, pod: Object) -> None:
    pool = claimed_from(pod)
    agents = _reach(ctx, pool)
    was_paused = agents.failures > 0
    agents.clear()
    if pool is not None and was_paused:
        await ctx.wake(pool)  # its status says so


def _reach(ctx: Context, pool: Key | None) -> Reach:
    pause = ctx.pauses.get(pool) if pool is not None else None
    return Reach() if pause is None else pause.agents


def _silent(pod: Object, error: errors.AgentError) -> View:
    return starting(
        pod, "AgentUnreachable", f"The warm pod does not take the session: {error}.", float(_WAIT_S)
    )


def _preparing(pod: Object, look_again_s: float | None) -> View:
    return starting(pod, "PreparingWorkspace", "The agent prepares the workspace.", look_again_s)


def _is_unready(seen: View) -> bool:
    return any(each.type == "Ready" and each.reason == "PodUnready" for each in seen.conditions)
