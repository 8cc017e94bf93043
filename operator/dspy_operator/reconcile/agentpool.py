"""AgentPool: as many warm pods as asked for, replaced when they are taken, lost, or made from what has changed since.

A pool is refilled behind the sessions that wait (see the queue's lanes), a batch per pass.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

from dspy_operator import names
from dspy_operator.desired.warm_pod import warm_pod
from dspy_operator.errors import StalledError
from dspy_operator.names import Key
from dspy_operator.reconcile import unsupported
from dspy_operator.reconcile.context import Context, earliest, write_status
from dspy_operator.reconcile.pauses import Pause
from dspy_operator.reconcile.start import create_pod
from dspy_operator.reconcile.template import current_hash
from dspy_operator.status.conditions import Condition, Minor, merge, timestamp
from dspy_operator.status.pool import Inventory, conditions, lacking, look_again_in_s, surplus, take_stock
from dspy_operator.store import PODS, Object, key_of

# Every claim changes the counts: they are written together, and what somebody must act on at once.
_MINOR = Minor(
    frozenset({"Ready", "Reconciling"}), frozenset({"phase", "replicas", "ready", "claimed", "pending"}), 1.0
)


async def reconcile(ctx: Context, key: Key) -> float | None:
    """One pass. Returns after how many seconds time alone would change something."""
    pool = ctx.store.get(key)
    if pool is None or pool["metadata"].get("deletionTimestamp"):
        ctx.pauses.pop(key, None)
        return None
    try:
        unsupported.check_pool(pool)
    except StalledError as error:
        refused = conditions(Inventory(), 1, ctx.now(), (error.reason, error.message))
        return await _write(ctx, pool, *refused, Inventory())
    return await _advance(ctx, key, pool)


async def _advance(ctx: Context, key: Key, pool: Object) -> float | None:
    pause, replicas = ctx.pauses.setdefault(key, Pause()), pool["spec"].get("replicas", 1)
    wanted = current_hash(ctx, pool)
    stock = _stock(ctx, pool, wanted)
    pause.observe(wanted, stock, ctx.now())
    needless = surplus(stock, replicas, ctx.now())
    for pod in needless:
        await _delete(ctx, pod)
    if needless:
        stock = _stock(ctx, pool, wanted)
    created = await _create(ctx, pool, pause, _room(stock, replicas, pause, ctx.now()))
    if created:
        stock = _stock(ctx, pool, wanted)
    for session in ctx.claims.waiting(key, len(stock.free)):
        await ctx.wake(session)
    phase, said = conditions(stock, replicas, ctx.now(), pause.said, pause.agents.said)
    write_again_s = await _write(ctx, pool, phase, said, stock)
    # What no event tells: that a batch was not all, that a pause is over, that a pod has been failing for long.
    unfinished = (
        0.0 if surplus(stock, replicas, ctx.now()) or _room(stock, replicas, pause, ctx.now()) else None
    )
    return earliest(unfinished, write_again_s, pause.left_s(ctx.now()), look_again_in_s(stock, ctx.now()))


def _stock(ctx: Context, pool: Object, wanted: str) -> Inventory:
    every = ctx.store.pods_of(pool["metadata"]["uid"])
    # One that a session is claiming at this moment is neither to be counted nor to be deleted.
    return take_stock(
        [pod for pod in every if not ctx.claims.is_reserved(pod["metadata"]["uid"])], wanted, ctx.now()
    )


def _room(stock: Inventory, replicas: int, pause: Pause, now: datetime) -> int:
    """How many pods to create in this pass; after a failure one alone tries whether it is over."""
    if pause.left_s(now) is not None:
        return 0
    count = lacking(stock, replicas, proven=pause.proven)
    return max(0, min(count, 1 - len(stock.starting))) if pause.failures else count


async def _delete(ctx: Context, pod: Object) -> None:
    await ctx.cluster.delete_pod(pod, if_unchanged=True)
    metadata = {**pod["metadata"], "deletionTimestamp": timestamp(ctx.now())}
    ctx.store.put(PODS, {**pod, "metadata": metadata})  # until the watch says so, or that it changed before


async def _create(ctx: Context, pool: Object, pause: Pause, count: int) -> int:
    """Creates so many pods at once. Returns how many the apiserver took."""
    master, name = ctx.settings.reddb_token(), pool["metadata"]["name"]
    manifests = [warm_pod(pool, ctx.settings, master, names.warm_pod(name)) for _ in range(count)]
    made = await asyncio.gather(
        *(create_pod(ctx, pool, manifest) for manifest in manifests), return_exceptions=True
    )
    failed = [each for each in made if isinstance(each, BaseException)]
    for error in failed:
        if not isinstance(error, StalledError):
            raise error
    if failed:
        pause.failed("PodRefused", str(failed[0]), ctx.now())
    elif made:
        pause.created()
    return len(made) - len(failed)


async def _write(
    ctx: Context, pool: Object, phase: str, said: tuple[Condition, ...], stock: Inventory
) -> float | None:
    stored, generation = pool["status"], pool["metadata"]["generation"]
    key = key_of(names.AGENT_POOLS, pool)
    status = {
        "phase": phase,
        "observedGeneration": generation,
        "conditions": merge(stored.get("conditions") or (), said, generation, ctx.now()),
        "replicas": stock.kept + len(stock.useless),
        "ready": len(stock.free),
        "claimed": ctx.store.claimed(key),
        "pending": len(stock.starting) + len(stock.failing),
        "selector": names.pool_selector(key.name),
    }
    return await write_status(ctx, names.AGENT_POOLS, pool, status, _MINOR)
