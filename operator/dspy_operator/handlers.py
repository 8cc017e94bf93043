"""kopf at the edge: an event of a watched object goes into the store and its key into the queue, and nothing else.

kopf writes nothing to the cluster here: `on.event` handlers need no finalizer and no annotation; events and peering
are off.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from dspy_operator import names
from dspy_operator.names import Key
from dspy_operator.reconcile.context import Context
from dspy_operator.reconcile.start import note_loss
from dspy_operator.store import PODS, Object, key_of, owner_key

Enqueue = Callable[[Key], Awaitable[None]]

_PAGE = 500


def settings() -> kopf.OperatorSettings:
    """kopf's settings: paged lists, our pods only, no scanning of the cluster, no writes."""
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    made.scanning.disabled = True
    made.peering.standalone = True
    made.watching.chunk_size = _PAGE
    made.watching.label_selectors["", "v1", PODS] = names.MANAGED_PODS
    made.networking.request_timeout = 60
    made.queueing.idle_timeout = 1.0
    made.queueing.exit_timeout = 1.0
    return made


def registry(ctx: Context, enqueue: Enqueue) -> kopf.OperatorRegistry:
    """Handlers for the four kinds and for their pods."""
    made = kopf.OperatorRegistry()

    async def object_event(*, event: Any, param: Any = None, **_: Any) -> None:
        await on_object(ctx, enqueue, param, event)

    async def pod_event(*, event: Any, **_: Any) -> None:
        await on_pod(ctx, enqueue, event)

    for plural in names.KINDS:
        kopf.on.event(names.GROUP, names.VERSION, plural, id=plural, registry=made, param=plural)(
            object_event
        )
    kopf.on.event("", "v1", PODS, id=PODS, registry=made)(pod_event)
    for login in (kopf.login_with_service_account, kopf.login_with_kubeconfig):
        kopf.on.login(id=login.__name__, registry=made)(login)
    return made


async def on_object(ctx: Context, enqueue: Enqueue, plural: str, event: Any) -> None:
    """An object of ours was listed, added, changed or deleted."""
    seen: Object = event["object"]
    key = key_of(plural, seen)
    if event["type"] == "DELETED":
        ctx.store.remove(plural, seen)
        ctx.forget(seen["metadata"]["uid"])
    else:
        ctx.store.put(plural, seen)
    await enqueue(key)
    if plural == names.AGENT_POOLS:
        for session in sessions_of_pool(ctx, key):
            await enqueue(session)


async def on_pod(ctx: Context, enqueue: Enqueue, event: Any) -> None:
    """A pod of ours was listed, added, changed or deleted: its owner has to look."""
    pod: Object = event["object"]
    if event["type"] == "DELETED":
        note_loss(ctx, pod)
        ctx.store.remove(PODS, pod)
    else:
        ctx.store.put(PODS, pod)
    key = owner_key(pod)
    if key is not None:
        await enqueue(key)


def sessions_of_pool(ctx: Context, pool: Key) -> list[Key]:
    """Sessions that name the pool: one that waits for it goes on when it appears."""
    found = []
    for key in ctx.store.keys(names.AGENT_SESSIONS, pool.namespace):
        session = ctx.store.get(key)
        if session is not None and session["spec"].get("poolRef", {}).get("name") == pool.name:
            found.append(key)
    return found
